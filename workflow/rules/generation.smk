# Design peptides, with their backbones, for each label.


rule generate:
    input:
        model=rules.select.output.model,
    output:
        fasta=[
            in_report(
                f"{RESULTS}/generation/{name}.fasta",
                "fasta",
                "4 Designs",
                f"FASTA: {entry}",
            )
            for entry, name in design_entries().items()
        ],
        samples=f"{RESULTS}/generation/samples.parquet",
        designs=f"{RESULTS}/generation/designs.tsv",
        pdb=directory(f"{RESULTS}/generation/pdb"),
        summary=f"{RESULTS}/generation/summary.tsv",
    log:
        f"{RESULTS}/logs/generation.log",
    benchmark:
        f"{RESULTS}/benchmarks/generation.tsv"
    conda:
        "../../environment.yml"
    threads: 8
    resources:
        gpu=1,
    params:
        config=SETTINGS_FILE,
        directory=folder,
        generation=part(CONFIG.generation),
        code=fingerprint("structdiff.generation.stage", DIGESTS),
    message:
        "Designing peptides"
    shell:
        "if [ {resources.gpu} -eq 0 ]; then export CUDA_VISIBLE_DEVICES=; fi; "
        "python -m structdiff generate --config {params.config} --model {input.model} "
        "--output-dir {params.directory} 2>&1 | tee -ai {log}"
