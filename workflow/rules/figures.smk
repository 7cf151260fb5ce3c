# Draw the training curves.


rule plot:
    input:
        config=ancient(SETTINGS_FILE),
        training=rules.train.output[0],
    output:
        losses=in_report(
            f"{RESULTS}/figures/losses.png",
            "losses",
            "3 Training",
            what="Losses",
            type="figure",
        ),
        learning_rate=in_report(
            f"{RESULTS}/figures/learning_rate.png",
            "learning_rate",
            "3 Training",
            what="Learning rate",
            type="figure",
        ),
        gradient_norm=in_report(
            f"{RESULTS}/figures/gradient_norm.png",
            "gradient_norm",
            "3 Training",
            what="Gradient norm",
            type="figure",
        ),
        throughput=in_report(
            f"{RESULTS}/figures/throughput.png",
            "throughput",
            "3 Training",
            what="Throughput",
            type="figure",
        ),
        svg=expand(
            f"{RESULTS}/figures/{{curve}}.svg",
            curve=["losses", "learning_rate", "gradient_norm", "throughput"],
        ),
    log:
        f"{RESULTS}/logs/figures.log",
    benchmark:
        f"{RESULTS}/benchmarks/figures.tsv"
    conda:
        "../../environment.yml"
    params:
        directory=folder,
        training=lambda wildcards, input: Path(input.training).parent.as_posix(),
        code=fingerprint("structdiff.figures"),
    message:
        "Drawing the training curves"
    shell:
        "python -m structdiff plot --config {input.config} --training {params.training} "
        "--output-dir {params.directory} 2>&1 | tee {log}"
