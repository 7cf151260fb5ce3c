# Choose the checkpoint with the best validation metric.


rule select:
    input:
        config=ancient(SETTINGS_FILE),
        training=rules.train.output,
    output:
        checkpoint=f"{RESULTS}/selection/checkpoint_best.pth",
        model=f"{RESULTS}/selection/model.safetensors",
        table=in_report(
            f"{RESULTS}/selection/selection.tsv",
            "selection",
            "3 Training",
            what="Candidates, and the chosen one",
            type="table",
        ),
    params:
        directory=f"{RESULTS}/selection",
        training=f"{RESULTS}/training",
        selection=part(CONFIG.selection),
        code=fingerprint("structdiff.selection"),
    message:
        f"Choosing the checkpoint with the lowest {CONFIG.selection.metric} validation loss"
    log:
        f"{RESULTS}/logs/selection.log",
    benchmark:
        f"{RESULTS}/benchmarks/selection.tsv"
    shell:
        "{STRUCTDIFF} select --config {input.config} --training {params.training} "
        "--output-dir {params.directory} 2>&1 | tee {log}"
