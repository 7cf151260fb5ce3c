# Write down the run's whole configuration, which every command reads.


localrules:
    all,
    config,
    demo_data,
    pages,
    report,


rule config:
    output:
        SETTINGS_FILE,
    log:
        f"{RESULTS}/logs/config.log",
    conda:
        "../../environment.yml"
    params:
        text=settings.dump(CONFIG),
    message:
        "Writing the configuration of this run, all defaults spelled out"
    shell:
        "printf '%s' {params.text:q} > {output} 2> {log}"
