"""Write the generated pages of `docs/reference/`."""

from infra.reference import FOLDER, write

if __name__ == "__main__":
    for name in write():
        print(f"{FOLDER.name}/{name}")  # noqa: T201
