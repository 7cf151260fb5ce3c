# Train the diffusion model.
#
# Snakemake knows only training/summary.json, which is written last: checkpoints, logs and metrics
# are undeclared, because the declared outputs of a killed job are deleted. A killed training goes
# on from its latest checkpoint when the workflow is started again; where Snakemake alone was killed,
# its trainer is still at work, and the next one waits for it to end.

import math

# Only the product of these counts: another machine trains the same with other factors.
BATCH_FACTORS = ("batch_size", "gradient_accumulation_steps", "num_gpus", "num_nodes")
# How a training computes, what it keeps, and when; a finished one is none the wiser.
FREE = (
    *BATCH_FACTORS,
    *("activation_checkpointing", "compile", "keep_checkpoints", "save_every", "validate_every"),
)


rule train:
    input:
        peptides=rules.split.output.peptides,
        structures=rules.fold.output.index if CONFIG.data.use_predicted_structures else [],
    output:
        f"{RESULTS}/training/summary.json",
    log:
        f"{RESULTS}/logs/training.log",
    benchmark:
        f"{RESULTS}/benchmarks/training.tsv"
    conda:
        "../../environment.yml"
    threads: 8
    resources:
        gpu=CONFIG.training.num_gpus,
    params:
        config=SETTINGS_FILE,
        directory=folder,
        structures=lambda wildcards, input: (
            f"--structures {input.structures}" if input.structures else ""
        ),
        model=part(CONFIG.model, without=("structure_encoder",)),
        diffusion=part(CONFIG.diffusion),
        training=part(CONFIG.training, without=FREE),
        effective_batch=math.prod(getattr(CONFIG.training, name) for name in BATCH_FACTORS),
        code=constant("structdiff.training", "CODE_VERSION"),
    message:
        "Training (progress: structdiff monitor, or tensorboard --logdir "
        f"{RESULTS}/training/tensorboard)"
    # The profile decides how many GPUs the job gets. Where it grants none, as many processes as the
    # configuration says train on the CPU; the effective batch is the same either way.
    shell:
        "if [ {resources.gpu} -gt 0 ]; then processes='--num-gpus {resources.gpu}'; "
        "else processes=; export CUDA_VISIBLE_DEVICES=; fi; "
        "python -m structdiff train --config {params.config} --peptides {input.peptides} "
        "{params.structures} --output-dir {params.directory} --wait $processes 2>&1 | tee {log}"
