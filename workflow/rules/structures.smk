# Predict (or collect) a structure for every peptide that the cache does not hold yet.


rule fold:
    input:
        config=ancient(SETTINGS_FILE),
        peptides=rules.split.output.peptides,
        files=present("structures.files.path", CONFIG.structures.files.path)
        if PREDICTOR == "files"
        else [],
    output:
        index=f"{RESULTS}/structures/index.parquet",
        summary=in_report(
            f"{RESULTS}/structures/summary.tsv",
            "structures_summary",
            "2 Structures",
            what="Structures and their confidence",
            type="table",
        ),
        failed=in_report(
            f"{RESULTS}/structures/failed.tsv",
            "structures_failed",
            "2 Structures",
            what="Peptides without a structure",
            type="table",
        ),
    params:
        directory=f"{RESULTS}/structures",
        predictor=PREDICTOR,
        cache=CONFIG.structures.cache,
        settings=part(getattr(CONFIG.structures, PREDICTOR, None)),
        code=constant("structdiff.structures", "CODE_VERSION"),
    threads: 8
    resources:
        gpu=1 if PREDICTOR == "esmfold" else 0,
    message:
        f"Structures: collecting what the cache holds, the rest from '{PREDICTOR}'"
    log:
        f"{RESULTS}/logs/structures.log",
    benchmark:
        f"{RESULTS}/benchmarks/structures.tsv"
    shell:
        "{STRUCTDIFF} fold --config {input.config} --peptides {input.peptides} "
        "--output-dir {params.directory} 2>&1 | tee {log}"
