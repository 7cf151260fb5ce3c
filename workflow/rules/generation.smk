# Design peptides, with their backbones, for each label.
#
# `generate` does it in one job, unless there are more than `generation.shard_size` designs of a label:
# then each shard of them is a job, and `generate` collects their designs, which are the same to the
# byte. A shard that is killed resumes from its journal, which is not a declared output.

SHARDS = shard_names(CONFIG.generation)
# What decides the designs.
DESIGNS = dict(
    generation=part(CONFIG.generation),
    code=fingerprint("structdiff.generation.stage", DIGESTS),
)


rule design_shard:
    input:
        model=rules.select.output.model,
    output:
        f"{RESULTS}/generation/shards/{{shard}}.jsonl",
    log:
        f"{RESULTS}/logs/generation_shards/{{shard}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/generation_shards/{{shard}}.tsv"
    conda:
        "../../environment.yml"
    threads: 8
    resources:
        gpu=1,
    params:
        **DESIGNS,
        config=SETTINGS_FILE,
        directory=lambda wildcards, output: Path(output[0]).parents[1].as_posix(),
    message:
        "Designing peptides: shard {wildcards.shard}"
    shell:
        "if [ {resources.gpu} -eq 0 ]; then export CUDA_VISIBLE_DEVICES=; fi; "
        "python -m structdiff design shard --config {params.config} --model {input.model} "
        "--name {wildcards.shard} --output-dir {params.directory} 2>&1 | tee -ai {log}"


rule generate:
    input:
        model=rules.select.output.model,
        peptides=rules.split.output.peptides,
        shards=[f"{RESULTS}/generation/shards/{name}.jsonl" for name in SHARDS],
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
        controls=f"{RESULTS}/generation/controls.tsv",
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
        **DESIGNS,
        config=SETTINGS_FILE,
        directory=folder,
        shards="--from-shards" if SHARDS else "",
        tables=fingerprint("structdiff.evaluation.design_table", DIGESTS),
        judges=versions("macrel", "onnxruntime"),
    message:
        "Collecting the designs" if SHARDS else "Designing peptides"
    shell:
        "if [ {resources.gpu} -eq 0 ]; then export CUDA_VISIBLE_DEVICES=; fi; "
        "python -m structdiff generate --config {params.config} --model {input.model} "
        "--reference {input.peptides} --output-dir {params.directory} {params.shards} 2>&1 | tee -ai {log}"
