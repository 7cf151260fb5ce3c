# Draw the training curves.

# Each figure of the stage and its name in the report.
CURVES = {
    "losses": "Losses",
    "learning_rate": "Learning rate",
    "gradient_norm": "Gradient norm",
    "throughput": "Throughput",
}


rule plot:
    input:
        training=rules.train.output[0],
    output:
        curves=[
            in_report(f"{RESULTS}/figures/{name}.svg", name, "3 Training", title)
            for name, title in CURVES.items()
        ],
        png=expand(f"{RESULTS}/figures/{{name}}.png", name=CURVES),
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
