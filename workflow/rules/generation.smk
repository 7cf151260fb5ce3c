# Design peptides, with their backbones, for each label.


rule generate:
    input:
        config=ancient(SETTINGS_FILE),
        model=rules.select.output.model,
        peptides=rules.split.output.peptides,
    output:
        samples=f"{RESULTS}/generation/samples.parquet",
        pdb=directory(f"{RESULTS}/generation/pdb"),
        summary=in_report(
            f"{RESULTS}/generation/summary.tsv",
            "generation_summary",
            "4 Designs",
            what="What was designed",
            type="table",
        ),
    params:
        directory=f"{RESULTS}/generation",
        generation=part(CONFIG.generation),
        code=fingerprint("structdiff.generation"),
    threads: 8
    resources:
        gpu=1,
    message:
        "Designing peptides"
    log:
        f"{RESULTS}/logs/generation.log",
    benchmark:
        f"{RESULTS}/benchmarks/generation.tsv"
    shell:
        "if [ {resources.gpu} -eq 0 ]; then export CUDA_VISIBLE_DEVICES=; fi; "
        "{STRUCTDIFF} generate --config {input.config} --model {input.model} "
        "--peptides {input.peptides} --output-dir {params.directory} 2>&1 | tee {log}"
