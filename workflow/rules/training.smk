# Train the diffusion model.
#
# Snakemake knows only training/summary.json, which is written last: checkpoints, logs and metrics
# are undeclared, because the declared outputs of a killed job are deleted. A killed training goes
# on from its latest checkpoint when the workflow is started again.


rule train:
    input:
        config=ancient(SETTINGS_FILE),
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
        directory=folder,
        structures=lambda wildcards, input: (
            f"--structures {input.structures}" if input.structures else ""
        ),
        processes=CONFIG.training.num_gpus,
        data=part(CONFIG.data, only=("limit",)),
        model=part(CONFIG.model, without=("structure_encoder",)),
        diffusion=part(CONFIG.diffusion),
        training=part(CONFIG.training),
        code=constant("structdiff.training", "CODE_VERSION"),
    message:
        "Training (progress: structdiff monitor, or tensorboard --logdir "
        f"{RESULTS}/training/tensorboard)"
    # The profile decides how many GPUs the job gets. Where it grants none, the same number of
    # processes trains on the CPU; the effective batch stays what the configuration says.
    shell:
        "if [ {resources.gpu} -eq 0 ]; then export CUDA_VISIBLE_DEVICES=; fi; "
        "python -m structdiff train --config {input.config} --peptides {input.peptides} "
        "{params.structures} --output-dir {params.directory} "
        "--num-gpus $(( {resources.gpu} > 0 ? {resources.gpu} : {params.processes} )) "
        "2>&1 | tee {log}"
