"""Every notebook runs from top to bottom."""

from pathlib import Path

import pytest

from support import REPOSITORY

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted((REPOSITORY / "notebooks").glob("*.ipynb")), ids=lambda f: f.stem)
def test_notebook_runs_and_is_committed_without_outputs(file: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(file, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    kinds = [o.get("output_type") for c in notebook.cells for o in c.get("outputs", [])]
    assert "error" not in kinds
    pictures = [o for c in notebook.cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(pictures) >= 2
