# Choose the checkpoint with the best validation metric.


rule select:
    input:
        training=rules.train.output[0],
    output:
        checkpoint=f"{RESULTS}/selection/checkpoint_best.pth",
        model=f"{RESULTS}/selection/model.safetensors",
        table=f"{RESULTS}/selection/selection.tsv",
    log:
        f"{RESULTS}/logs/selection.log",
    benchmark:
        f"{RESULTS}/benchmarks/selection.tsv"
    conda:
        "../../environment.yml"
    params:
        config=SETTINGS_FILE,
        directory=folder,
        training=lambda wildcards, input: Path(input.training).parent.as_posix(),
        selection=part(CONFIG.selection),
        code=fingerprint("structdiff.selection", DIGESTS),
    message:
        f"Choosing the checkpoint by its {CONFIG.selection.metric} validation loss"
    shell:
        "python -m structdiff select --config {params.config} --training {params.training} "
        "--output-dir {params.directory} 2>&1 | tee -ai {log}"
