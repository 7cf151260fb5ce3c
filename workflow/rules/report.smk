# Gather figures, tables, runtimes and the configuration in one page that needs no network.


rule report:
    input:
        config=SETTINGS_FILE,
        results=[
            *rules.split.output,
            *rules.fold.output,
            *rules.train.output,
            *rules.select.output,
            *rules.plot.output,
            *rules.generate.output,
            *rules.evaluate.output,
        ],
    output:
        f"{RESULTS}/report.html",
    log:
        f"{RESULTS}/logs/report.log",
    conda:
        "../../environment.yml"
    message:
        "Writing the report"
    shell:
        'python -m snakemake --snakefile "$STRUCTDIFF_SNAKEFILE" --configfile {input.config} --nolock --report {output} -- split fold train select plot generate evaluate 2>&1 | tee {log}'
