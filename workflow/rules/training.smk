# Train the diffusion model.
#
# The one declared output is training/summary.json, which is written last: Snakemake deletes the
# declared outputs of a killed job, and checkpoints, logs and metrics must survive. A killed training
# resumes from its latest checkpoint when the workflow is started again.

# What the job asks for; a profile may grant something else, and the effective batch is the same.
# On several nodes of a cluster the job has one task on each node. `gres` is the number of GPUs of
# each node; `gpu` would be the number of the whole job, which SLURM may distribute as it likes.
if CONFIG.training.num_nodes == 1:
    ASKED = dict(nodes=1, gpu=CONFIG.training.num_gpus)
else:
    ASKED = dict(
        nodes=CONFIG.training.num_nodes,
        tasks=CONFIG.training.num_nodes,
        mpi="srun",
        gpu=0,
        gres=f"gpu:{CONFIG.training.num_gpus}",
        tasks_per_gpu=0,  # or the plugin asks for `tasks` tasks a GPU
    )


rule train:
    input:
        peptides=rules.split.output.peptides,
        structures=rules.fold.output.index if CONFIG.data.use_predicted_structures else [],
        start=ancient(START),
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
        **ASKED,
    params:
        config=SETTINGS_FILE,
        directory=folder,
        structures=lambda wildcards, input: (
            f"--structures {input.structures}" if input.structures else ""
        ),
        model=part(CONFIG.model),
        diffusion=part(CONFIG.diffusion),
        training=part(CONFIG.training),
        start=START_CONTENT,
        effective_batch=CONFIG.training.effective_batch,
        code=constant("structdiff.training", "CODE_VERSION"),
    message:
        "Training (progress: structdiff monitor, or tensorboard --logdir "
        f"{RESULTS}/training/tensorboard)"
    # A signal that stops the job goes to all of its processes: the trainer saves its state and ends,
    # and the shell and tee wait for it. Without a GPU, processes on the cores that are granted train.
    shell:
        "trap : INT TERM USR1; "
        "train='python -m structdiff train --config {params.config} --peptides {input.peptides} "
        "{params.structures} --output-dir {params.directory} --wait'; "
        "{{ "
        "if [ {resources.nodes} -gt 1 ]; then "
        "export MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000)); "
        "srun --nodes={resources.nodes} --ntasks={resources.nodes} --kill-on-bad-exit=1 "
        "--cpus-per-task=${{SLURM_CPUS_PER_TASK:-{threads}}} "
        'bash -c "$train --num-gpus \\$SLURM_GPUS_ON_NODE"; '
        "elif [ {resources.gpu} -gt 0 ]; then $train --num-gpus {resources.gpu}; "
        "else CUDA_VISIBLE_DEVICES= $train; fi; "
        "}} 2>&1 | (trap '' INT TERM USR1; exec tee -a {log})"
