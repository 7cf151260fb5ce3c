# Draw the training curves.


rule plot:
    input:
        training=rules.train.output[0],
    output:
        losses=in_report(f"{RESULTS}/figures/losses.svg", "losses", "3 Training", "Losses"),
        learning_rate=in_report(
            f"{RESULTS}/figures/learning_rate.svg",
            "learning_rate",
            "3 Training",
            "Learning rate",
        ),
        gradient_norm=in_report(
            f"{RESULTS}/figures/gradient_norm.svg",
            "gradient_norm",
            "3 Training",
            "Gradient norm",
        ),
        throughput=in_report(
            f"{RESULTS}/figures/throughput.svg",
            "throughput",
            "3 Training",
            "Throughput",
        ),
        png=expand(
            f"{RESULTS}/figures/{{curve}}.png",
            curve=["losses", "learning_rate", "gradient_norm", "throughput"],
        ),
    log:
        f"{RESULTS}/logs/figures.log",
    benchmark:
        f"{RESULTS}/benchmarks/figures.tsv"
    conda:
        "../../environment.yml"
    params:
        config=SETTINGS_FILE,
        directory=folder,
        training=lambda wildcards, input: Path(input.training).parent.as_posix(),
        code=fingerprint("structdiff.figures.stage", DIGESTS),
    message:
        "Drawing the training curves"
    shell:
        "python -m structdiff plot --config {params.config} --training {params.training} "
        "--output-dir {params.directory} 2>&1 | tee -ai {log}"
