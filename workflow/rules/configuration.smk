# Write down the run's whole configuration, which every command reads.


localrules:
    all,
    config,
    demo_data,
    report,


rule config:
    output:
        in_report(
            SETTINGS_FILE,
            "configuration",
            "6 Configuration",
            what="All settings of this run",
            type="YAML",
        ),
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
