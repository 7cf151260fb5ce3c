# Predict (or collect) a structure of every peptide that is not in the cache yet.
#
# The plan lists the peptides that the cache lacks, in shards that are named by the hash of their
# peptides. Each shard is a job with its own GPU, and `fold` writes the index. Peptides that were added
# to the table are folded alone. The cache is not a declared output, so that a killed job loses no
# batch that it had saved.

from structdiff.structures.predictors import input_paths, predictor_class

PREDICTOR_CLASS = predictor_class(CONFIG)
NEEDS_GPU = PREDICTOR_CLASS.needs_gpu
# What decides the structures: the cache's key is made of it.
SOURCE = dict(
    predictor=PREDICTOR,
    cache=CONFIG.structures.cache,
    used=CONFIG.data.use_predicted_structures,
    settings=part(
        CONFIG.structures,
        only=(PREDICTOR, "options") if CONFIG.structures.options else (PREDICTOR,),
    ),
    code=constant("structdiff.structures", "CODE_VERSION"),
    predictor_code=[
        getattr(PREDICTOR_CLASS, name, None) for name in ("code_version", "code_versions")
    ],
)
FILES = [path for item in input_paths(CONFIG).items() for path in present(*item)]
# Weights that are not an input: a folder (not an id of the hub); null is the package's own model.
WEIGHTS = getattr(getattr(CONFIG.structures, PREDICTOR, None), "model", "")
WEIGHTS = PRETRAINED if WEIGHTS is None else WEIGHTS
SOURCE["content"] = content(*(FILES or [WEIGHTS] * os.path.exists(WEIGHTS)))


checkpoint plan_folding:
    input:
        peptides=rules.split.output.peptides,
        files=ancient(FILES),
    output:
        plan=f"{RESULTS}/structures/plan.tsv",
    log:
        f"{RESULTS}/logs/structures_plan.log",
    conda:
        "../../environment.yml"
    params:
        **SOURCE,
        config=SETTINGS_FILE,
    message:
        "Structures: looking for peptides that the cache lacks"
    shell:
        "python -m structdiff structures plan --config {params.config} --peptides {input.peptides} "
        "--output {output.plan} 2>&1 | tee -ai {log}"


rule fold_shard:
    input:
        plan=f"{RESULTS}/structures/plan.tsv",
        files=ancient(FILES),
    output:
        f"{RESULTS}/structures/shards/{{shard}}.jsonl",
    log:
        f"{RESULTS}/logs/structures_shards/{{shard}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/structures_shards/{{shard}}.tsv"
    conda:
        "../../environment.yml"
    threads: 8
    resources:
        gpu=1 if NEEDS_GPU else 0,
    params:
        **SOURCE,
        config=SETTINGS_FILE,
    message:
        f"Structures: shard {{wildcards.shard}} from '{PREDICTOR}'"
    # If the profile grants no GPU, the job runs on the CPU.
    shell:
        "if [ {resources.gpu} -eq 0 ]; then export CUDA_VISIBLE_DEVICES=; fi; "
        "python -m structdiff structures shard --config {params.config} --plan {input.plan} "
        "--name {wildcards.shard} 2>&1 | tee -ai {log}"


rule fold:
    input:
        peptides=rules.split.output.peptides,
        plan=f"{RESULTS}/structures/plan.tsv",
        shards=folded_shards,
        files=ancient(FILES),
    output:
        index=f"{RESULTS}/structures/index.parquet",
        summary=f"{RESULTS}/structures/summary.tsv",
    # Snakemake deletes the outputs of a job that failed, but not its logs: failed.tsv stays.
    log:
        run=f"{RESULTS}/logs/structures.log",
        failed=f"{RESULTS}/structures/failed.tsv",
    benchmark:
        f"{RESULTS}/benchmarks/structures.tsv"
    conda:
        "../../environment.yml"
    params:
        **SOURCE,
        config=SETTINGS_FILE,
        directory=folder,
    message:
        "Structures: writing the index"
    shell:
        "python -m structdiff fold --config {params.config} --peptides {input.peptides} "
        "--plan {input.plan} --output-dir {params.directory} 2>&1 | tee -ai {log.run}"
