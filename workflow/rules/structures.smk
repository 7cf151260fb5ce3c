# Predict (or collect) a structure for every peptide that the cache does not hold yet.


rule fold:
    input:
        peptides=rules.split.output.peptides,
        files=(
            present("structures.files.path", CONFIG.structures.files.path)
            if PREDICTOR == "files"
            else []
        ),
    output:
        index=f"{RESULTS}/structures/index.parquet",
        summary=f"{RESULTS}/structures/summary.tsv",
        failed=f"{RESULTS}/structures/failed.tsv",
    log:
        f"{RESULTS}/logs/structures.log",
    benchmark:
        f"{RESULTS}/benchmarks/structures.tsv"
    conda:
        "../../environment.yml"
    threads: 8
    resources:
        gpu=1 if PREDICTOR == "esmfold" else 0,
    params:
        config=SETTINGS_FILE,
        directory=folder,
        predictor=PREDICTOR,
        cache=CONFIG.structures.cache,
        settings=part(CONFIG.structures, only=(PREDICTOR,)),
        code=constant("structdiff.structures", "CODE_VERSION"),
    message:
        f"Structures: collecting what the cache holds, the rest from '{PREDICTOR}'"
    shell:
        "python -m structdiff fold --config {params.config} --peptides {input.peptides} "
        "--output-dir {params.directory} 2>&1 | tee {log}"
