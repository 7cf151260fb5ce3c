# Read, clean and split the table of peptides.


rule demo_data:
    output:
        DEMO_TABLE,
    log:
        "resources/demo/peptides.log",
    conda:
        "../../environment.yml"
    params:
        code=fingerprint("structdiff.peptides.demo", DIGESTS),
    message:
        "Writing the demo's table from modlAMP's peptides"
    shell:
        "python -m structdiff demo-data --output {output} 2>&1 | tee -ai {log}"


TABLES = [
    table for key in ("path", "train_path", "val_path", "test_path") for table in input_table(key)
]


rule split:
    input:
        # Jobs below an `ancient` file that is made again would not be looked at.
        tables=[table if table == DEMO_TABLE else ancient(table) for table in TABLES],
        start=ancient(START),  # what that model has seen is put into train
    output:
        peptides=f"{RESULTS}/peptides/peptides.parquet",
        neighbours=f"{RESULTS}/peptides/neighbours.parquet",
        merged=f"{RESULTS}/peptides/merged.tsv",
        png=f"{RESULTS}/peptides/leakage.png",
        summary=f"{RESULTS}/peptides/summary.tsv",
        labels=f"{RESULTS}/peptides/labels.tsv",
        rejected=f"{RESULTS}/peptides/rejected.tsv",
        leakage=in_report(
            f"{RESULTS}/peptides/leakage.svg",
            "leakage",
            "1 Peptides",
            "Nearest training neighbour",
        ),
        split_report=f"{RESULTS}/peptides/split_report.tsv",
        warnings=f"{RESULTS}/peptides/warnings.tsv",
    log:
        run=f"{RESULTS}/logs/peptides.log",
        rejected=f"{RESULTS}/logs/rejected.tsv",
        merged=f"{RESULTS}/logs/merged.tsv",
    benchmark:
        f"{RESULTS}/benchmarks/peptides.tsv"
    conda:
        "../../environment.yml"
    threads: 8
    params:
        config=SETTINGS_FILE,
        directory=folder,
        tables=lambda wildcards: content(*TABLES),  # the demo's is made only then
        data=part(CONFIG.data, without=("use_predicted_structures",)),
        split=part(CONFIG.split),
        start=START_CONTENT,
        code=fingerprint("structdiff.peptides.stage", DIGESTS),
    message:
        "Reading, cleaning and splitting the peptides"
    # Snakemake deletes the outputs of a job that failed, but not its logs: the account of the rows is
    # copied there.
    shell:
        "rm -f {log.rejected} {log.merged}; "
        "python -m structdiff split --config {params.config} --output-dir {params.directory} 2>&1 "
        "| tee -ai {log.run} || {{ status=$?; if [ -f {output.rejected} ]; then "
        "cp {output.rejected} {log.rejected} && cp {output.merged} {log.merged} && "
        "echo 'The account of the rows stays in {log.rejected} and {log.merged}.'; fi; "
        "exit $status; }}"
