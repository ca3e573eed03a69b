"""Where the book can be opened online: one setting, `repository` in _config.yml, empty until there is an
address. Without it no page has a button that leads nowhere.
"""

import json
import re

import yaml

from eplib import files
from eplib.checks import InputError

GITHUB = re.compile(r"https://github\.com/([\w.-]+)/([\w.-]+?)(?:\.git)?/?")
PAGES = "gh-pages"  # the branch that the built book is published from, with the notebooks for Colab in it


def repository():
    """(owner, name, branch) of the public repository, or None where the setting is empty. Raises InputError
    for an address that is none of GitHub's, which Binder and Colab need.
    """
    setting = yaml.safe_load((files.ROOT / "_config.yml").read_text()).get("repository") or {}
    url = setting.get("url")
    if not url:
        return None
    found = GITHUB.fullmatch(url)
    if not found:
        raise InputError(
            f"repository.url = {url!r} in _config.yml: give https://github.com/OWNER/NAME, or leave it empty"
        )
    return *found.groups(), setting.get("branch") or "main"


def buttons(slug):
    """{name: address} of where a chapter can be opened; {} without a repository."""
    where = repository()
    if where is None:
        return {}
    owner, name, branch = where
    lab = f"urlpath=lab%2Ftree%2Fbook%2F{slug}.ipynb"
    return {
        "Binder": f"https://mybinder.org/v2/gh/{owner}/{name}/{branch}?{lab}",
        "Colab": f"https://colab.research.google.com/github/{owner}/{name}/blob/{PAGES}/colab/{slug}.ipynb",
    }


def write_for_colab(chapters, folder):
    """Write the chapters (paths of clean notebooks) into a folder, each with a cell before the others that
    fetches and installs the project; nothing without a repository.
    """
    where = repository()
    if where is None:
        return
    owner, name, branch = where
    lines = (
        "# Colab has PyTorch; this fetches the project and adds what it lacks, in about a minute.\n",
        f"!git clone --quiet --depth 1 --branch {branch} https://github.com/{owner}/{name} {name}\n",
        f"%cd {name}\n",
        "!pip install --quiet uv && uv pip install --quiet --system --editable .\n",
    )
    for path in chapters:
        notebook = json.loads(path.read_text())
        first = {
            "cell_type": "code",
            "execution_count": None,
            "id": "fetch-the-project",
            "metadata": {},
            "outputs": [],
            "source": list(lines),
        }
        notebook["cells"].insert(0, first)
        files.write(folder / path.name, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
