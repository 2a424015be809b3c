"""What becomes of a packaged zip."""

import zipfile

from infra import build


def test_a_zip_has_bytecode_and_nothing_that_is_never_imported(tmp_path):
    path = tmp_path / "layer-deployment.zip"
    packages = "python/lib/python3.13/site-packages"
    kept = [f"{packages}/azure/mgmt/compute/__init__.py", f"{packages}/other/aio/__init__.py", "app.py"]
    with zipfile.ZipFile(path, "w") as code:
        for name in (*kept, f"{packages}/azure/mgmt/compute/aio/__init__.py"):
            code.writestr(name, "X = 1\n")
    build._finish(path)
    with zipfile.ZipFile(path) as code:
        names = code.namelist()
    assert [name for name in names if name.endswith(".py")] == sorted(kept)
    assert sum(name.endswith(".pyc") for name in names) == len(kept)
