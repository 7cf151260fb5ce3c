# Judge the designs beside real, shuffled and random peptides.


rule evaluate:
    input:
        samples=rules.generate.output.samples,
        peptides=rules.split.output.peptides,
        structures=rules.fold.output.index,
    output:
        json=f"{RESULTS}/evaluation/metrics.json",
        candidates=f"{RESULTS}/evaluation/candidates.tsv",
        metrics=f"{RESULTS}/evaluation/metrics.tsv",
    log:
        f"{RESULTS}/logs/evaluation.log",
    benchmark:
        f"{RESULTS}/benchmarks/evaluation.tsv"
    conda:
        "../../environment.yml"
    threads: 8
    params:
        config=SETTINGS_FILE,
        directory=folder,
        evaluation=part(CONFIG.evaluation),
        code=fingerprint("structdiff.evaluation.stage"),
    message:
        "Judging the designs beside real, shuffled and random peptides"
    shell:
        "python -m structdiff evaluate --config {params.config} --samples {input.samples} "
        "--peptides {input.peptides} --structures {input.structures} "
        "--output-dir {params.directory} 2>&1 | tee {log}"
