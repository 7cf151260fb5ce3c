# Gather figures, tables, runtimes and the configuration in one page that needs no network.

import hashlib


rule pages:
    input:
        tables=[
            rules.split.output.summary,
            rules.split.output.labels,
            rules.split.output.warnings,
            rules.split.output.rejected,
            rules.split.output.split_report,
            rules.fold.output.summary,
            rules.select.output.table,
            rules.generate.output.summary,
            rules.generate.output.samples,
            rules.generate.output.designs,
            rules.evaluate.output.candidates,
            rules.evaluate.output.metrics,
            rules.evaluate.output.verdict,
            rules.evaluate.output.label_control,
            rules.evaluate.output.tasks,
        ],
        training=rules.train.output[0],
        evaluation=rules.evaluate.output.json,
        figures=[rules.split.output.png, *rules.plot.output.png, *rules.evaluate.output.png],
    output:
        in_report(page("story"), "story", "0 Story", "The run in one page"),
        in_report(page("peptides"), "peptides_summary", "1 Peptides", "What was kept"),
        in_report(page("rejected"), "rejected", "1 Peptides", "What was refused, and why"),
        in_report(page("leakage"), "split_report", "1 Peptides", "Leakage in numbers"),
        in_report(page("structures"), "structures_summary", "2 Structures", "Source and confidence"),
        in_report(page("failed"), "structures_failed", "2 Structures", "Failures"),
        in_report(page("selection"), "selection", "3 Training", "Choice of the checkpoint"),
        in_report(page("generation"), "generation_summary", "4 Designs", "Counts by label"),
        in_report(page("designs"), "designs", "4 Designs", "All designs"),
        in_report(page("candidates"), "candidates", "4 Designs", "Candidates, ranked"),
        in_report(page("verdict"), "verdict", "5 Evaluation", "Verdict"),
        in_report(page("metrics"), "metrics", "5 Evaluation", "Every metric and its controls"),
        in_report(page("label_control"), "label_control", "5 Evaluation", "Label control"),
        in_report(page("tasks"), "tasks", "5 Evaluation", "Folding, in numbers"),
        in_report(page("configuration"), "configuration", "6 Configuration", "All settings"),
    log:
        f"{RESULTS}/logs/pages.log",
    conda:
        "../../environment.yml"
    params:
        settings=hashlib.sha256(settings.dump(CONFIG).encode()).hexdigest()[:16],
        directory=folder,
        results=lambda wildcards, output: Path(output[0]).parents[1].as_posix(),
        code=fingerprint("structdiff.report.__main__", DIGESTS),
    message:
        "Setting the tables as pages"
    shell:
        "python -m structdiff.report --results {params.results} --output-dir {params.directory} "
        "2>&1 | tee -ai {log}"


rule report:
    input:
        results=[path for stage in [*STAGES, "pages"] for path in getattr(rules, stage).output],
    output:
        f"{RESULTS}/report.html",
    log:
        f"{RESULTS}/logs/report.log",
    conda:
        "../../environment.yml"
    params:
        config=SETTINGS_FILE,
        stages=STAGES,
        code=fingerprint("structdiff.report.frame", DIGESTS),
    message:
        "Writing the report"
    shell:
        'python "$STRUCTDIFF_WORKFLOW/scripts/report.py" {params.config} {output} {params.stages} pages '
        "2>&1 | tee -ai {log}"
