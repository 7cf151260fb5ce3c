"""A run of the whole workflow on a tiny configuration, made once and looked at by many tests."""

import pytest


@pytest.fixture(scope="session")
def finished(tmp_path_factory, make_workspace, configure):
    """The workflow, run to the end; tests look at it and leave it as it is."""
    workspace = make_workspace(tmp_path_factory.mktemp("finished"))
    configure(workspace.directory / "config.yaml")
    workspace.run("--configfile", "config.yaml")
    return workspace
