"""The whole pipeline: it ends, leaves what it promises, and then has nothing to do."""

import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]

PROMISED = [
    "peptides/peptides.parquet",
    "peptides/rejected.tsv",
    "peptides/split_report.tsv",
    "structures/index.parquet",
    "structures/summary.tsv",
    "structures/failed.tsv",
    "training/logs/training_*.log",
    "training/tensorboard/*",
    "training/metrics.jsonl",
    "training/config.yaml",
    "training/checkpoints/checkpoint_latest.pth",
    "training/checkpoints/checkpoint_best.pth",
    "training/checkpoints/checkpoint_epoch_2.pth",
    "training/checkpoints/*latest*sha256*",
    "selection/checkpoint_best.pth",
    "selection/selection.tsv",
    "selection/model.safetensors",
    "figures/losses.svg",
    "figures/losses.png",
    "figures/learning_rate.svg",
    "figures/gradient_norm.png",
    "figures/throughput.svg",
    "generation/antimicrobial.fasta",
    "generation/anticancer.fasta",
    "generation/samples.parquet",
    "generation/pdb/*.pdb",
    "evaluation/metrics.tsv",
    "evaluation/metrics.json",
    "report.html",
    "config.yaml",
    "benchmarks/*.tsv",
]


@pytest.mark.parametrize("pattern", PROMISED)
def test_it_leaves_what_the_documentation_promises(finished, pattern):
    files = list(finished.results.glob(pattern))
    assert files
    assert all(path.stat().st_size > 0 for path in files if path.is_file())


def test_the_structures_are_in_the_cache(finished):
    assert list((finished.directory / "resources" / "structures").rglob("*.parquet"))


def test_a_second_run_has_nothing_to_do(finished):
    assert finished.plan("--configfile", "config.yaml") == set()


def test_each_job_left_a_log_and_a_benchmark(finished):
    stages = {path.stem for path in finished.results.glob("benchmarks/*.tsv")}
    assert stages == {
        *("peptides", "structures", "training", "selection"),
        *("figures", "generation", "evaluation"),
    }
    assert stages < {path.stem for path in finished.results.glob("logs/*.log")}
