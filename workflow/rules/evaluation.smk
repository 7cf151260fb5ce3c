# Compare the designs with real, shuffled and random peptides.

# Each figure of the stage and its name in the report.
EVALUATION_FIGURES = {
    "composition": "Amino acids",
    "kmers": "k-mers and order of residues",
    "neighbours": "Nearest training peptide",
    "lengths": "Lengths",
    "properties": "Properties",
    "ramachandran": "Ramachandran plots",
    "judges": "Independent judges",
    "tasks": "Folding and inverse folding",
}
ESM2_WEIGHTS = present("evaluation.esm2_weights", CONFIG.evaluation.esm2_weights)
EXPERIMENTAL = present("evaluation.experimental", CONFIG.evaluation.experimental)


rule evaluate:
    input:
        samples=rules.generate.output.samples,
        peptides=rules.split.output.peptides,
        structures=rules.fold.output.index,
        model=rules.select.output.model,
        esm2=ancient(ESM2_WEIGHTS),
        experimental=ancient(EXPERIMENTAL),
    output:
        json=f"{RESULTS}/evaluation/metrics.json",
        metrics=f"{RESULTS}/evaluation/metrics.tsv",
        verdict=f"{RESULTS}/evaluation/verdict.tsv",
        candidates=f"{RESULTS}/evaluation/candidates.tsv",
        label_control=f"{RESULTS}/evaluation/label_control.tsv",
        tasks=f"{RESULTS}/evaluation/tasks.tsv",
        figures=[
            in_report(
                f"{RESULTS}/evaluation/{name}.svg",
                f"evaluation_{name}",
                "5 Evaluation",
                title,
            )
            for name, title in EVALUATION_FIGURES.items()
        ],
        png=expand(f"{RESULTS}/evaluation/{{name}}.png", name=EVALUATION_FIGURES),
    log:
        f"{RESULTS}/logs/evaluation.log",
    benchmark:
        f"{RESULTS}/benchmarks/evaluation.tsv"
    conda:
        "../../environment.yml"
    threads: 8
    resources:
        gpu=1,
    params:
        config=SETTINGS_FILE,
        directory=folder,
        evaluation=part(CONFIG.evaluation),
        data=part(CONFIG.data, only=("min_length", "max_length", "use_predicted_structures")),
        esm2=content(*ESM2_WEIGHTS),
        experimental=content(*EXPERIMENTAL),
        # ESMFold may be a judge. If no peptide has a structure, the index is the same without it.
        predictor=SOURCE,
        code=fingerprint("structdiff.evaluation.stage", DIGESTS),
        judges=versions("macrel", "onnxruntime"),
    message:
        "Comparing the designs with real, shuffled and random peptides"
    shell:
        "if [ {resources.gpu} -eq 0 ]; then export CUDA_VISIBLE_DEVICES=; fi; "
        "python -m structdiff evaluate --config {params.config} --samples {input.samples} "
        "--peptides {input.peptides} --structures {input.structures} "
        "--model {input.model} --output-dir {params.directory} 2>&1 | tee -ai {log}"
