"""Which extras a config needs, and which of them are not installed here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import yaml

CONFIG = {
    "version": 1,
    "authorities": {"letsencrypt": {"directory": "letsencrypt", "contact": "ops@example.com", "agree_terms": True}},
    "dns": [{"zone": "example.com", "provider": "route53"}],
    "certificates": {"web": {"names": ["www.example.com"], "stores": [{"provider": "file", "directory": "certs"}]}},
}


def validate(folder: Path, requirement: str) -> subprocess.CompletedProcess[str]:
    """`config validate`, as if pip had installed this package with that dependency."""
    metadata = folder / "site" / "ci_acme-9.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.4\nName: ci-acme\nRequires-Dist: {requirement}\n")
    (folder / "ci-acme.yaml").write_text(yaml.safe_dump(CONFIG))
    program = "import sys; from ci_acme.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", program, "config", "validate", "--output", "json"],
        cwd=folder,
        env={"PYTHONPATH": ":".join([str(folder / "site"), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_package_that_is_not_there_is_named_with_what_installs_it(tmp_path: Path) -> None:
    ran = validate(tmp_path, "no-such-package>=1; extra == 'aws'")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["missing_extras"] == ["aws"]
    assert "pip install 'ci-acme[aws]'" in ran.stderr


def test_nothing_is_said_of_what_is_there_and_of_what_is_not_needed(tmp_path: Path) -> None:
    ran = validate(tmp_path, "botocore>=1; extra == 'aws'\nRequires-Dist: no-such-package; extra == 'azure'")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["missing_extras"] == []
    assert ran.stderr == ""
