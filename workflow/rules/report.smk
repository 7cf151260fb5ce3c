# Gather figures, tables, runtimes and the configuration in one page that needs no network.


rule report:
    input:
        config=ancient(SETTINGS_FILE),
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
    params:
        snakemake=f"{shlex.quote(sys.executable)} -m snakemake",
        snakefile=workflow.main_snakefile,
    message:
        "Writing the report"
    log:
        f"{RESULTS}/logs/report.log",
    shell:
        "{params.snakemake} --snakefile {params.snakefile} --configfile {input.config} "
        "--nolock --report {output} -- {input.results} 2>&1 | tee {log}"
