"""What the shim does on Windows and macOS, asked of its pure functions, which take the platform and the environment."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import pytest

from tests.action.job import ROOT
from tests.servers.tools import find

pytestmark = pytest.mark.servers
RUNNER = {"GITHUB_WORKSPACE": "/home/runner/work/web/web", "RUNNER_TOOL_CACHE": "/opt/tools"}
WINDOWS = {"GITHUB_WORKSPACE": r"D:\a\web\web", "RUNNER_TOOL_CACHE": r"C:\hostedtoolcache\windows"}


def ask(module: str, call: str, *arguments: Any) -> Any:
    """What a function of the shim says; `call` may name arguments as `a[0]`, `a[1]`, …"""
    code = (
        f"import * as m from {json.dumps(str(ROOT / 'action' / module))};"
        f"const a = {json.dumps(arguments)};"
        f"process.stdout.write(JSON.stringify(m.{call}))"
    )
    done = subprocess.run(
        [find("node"), "--input-type=module", "--eval", code], capture_output=True, text=True, check=True, timeout=30
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("platform", "signals", "told"),
    [
        ("linux", [["SIGINT", 130], ["SIGTERM", 143]], True),
        ("darwin", [["SIGINT", 130], ["SIGTERM", 143]], True),
        # Ctrl-C, then Ctrl-Break, each to all processes of the console: handed on, it would be Node's hard kill.
        ("win32", [["SIGINT", 130], ["SIGBREAK", 143]], False),
    ],
)
def test_signals_of_a_cancel(platform: str, signals: Any, told: bool) -> None:
    assert ask("platform.mjs", "cancelSignals(a[0])", platform) == signals
    assert ask("platform.mjs", "handsOn(a[0])", platform) is told


def test_a_child_shares_the_console_of_the_runner() -> None:
    """libuv gives a child without inherited streams a console of its own if asked to hide it: Ctrl-C stays outside."""
    code = "".join(path.read_text() for path in (ROOT / "action").glob("*.mjs"))
    (options,) = re.findall(r"\bspawn\(program, args, (.*)\)", code)
    assert options == "{ cwd, env, stdio }", "neither windowsHide nor detached"


def test_interpreters_are_where_the_platform_has_them() -> None:
    assert ask("platform.mjs", "interpreterOf('/t/env', 'darwin')") == "/t/env/bin/python"
    assert ask("platform.mjs", "interpreterOf(a[0], 'win32')", r"D:\a b\env") == r"D:\a b\env\Scripts\python.exe"
    assert ask("platform.mjs", "interpreterIn(a[0], 'win32')", r"C:\py\x64") == r"C:\py\x64\python.exe"


def test_programs_are_looked_for_in_whole_directories_outside_of_the_workspace() -> None:
    posix = RUNNER | {"PATH": ":.:bin:/home/runner/work/web/web/.venv/bin:/home/runner/work/web/web-2/bin:/usr/bin:"}
    assert ask("platform.mjs", "programPaths('uv', a[0], 'linux')", posix) == [
        "/home/runner/work/web/web-2/bin/uv",
        "/usr/bin/uv",
    ]
    windows = WINDOWS | {
        "Path": r';.;tools;\tools;C:tools;d:\A\WEB\web\bin;"C:\Program Files\uv";D:\a\web\web\..\bin;\\host\share;'
    }
    assert ask("platform.mjs", "programPaths('uv', a[0], 'win32')", windows) == [
        r"C:\Program Files\uv\uv.exe",
        r"D:\a\web\bin\uv.exe",
        r"\\host\share\uv.exe",
    ], "never a name alone, which Windows looks for in the current directory first"


def test_pythons_of_each_platform() -> None:
    listed = "() => ['3.9.1', '3.13.2', '3.10.4']"
    linux = RUNNER | {"PATH": "/usr/bin", "pythonLocation": "/opt/tools/Python/3.12.0/x64"}
    found = [command[0] for command in ask("platform.mjs", f"pythonCommands(a[0], 'linux', {listed})", linux)]
    assert found[:3] == ["/opt/tools/Python/3.12.0/x64/bin/python3", "/usr/bin/python3", "/usr/bin/python"]
    assert [path.split("/")[4] for path in found[3::2]] == ["3.13.2", "3.10.4", "3.9.1"], "the newest first"
    windows = WINDOWS | {"Path": r"C:\x", "PythonLocation": r"C:\hostedtoolcache\windows\Python\3.12.0\x64"}
    commands = ask("platform.mjs", f"pythonCommands(a[0], 'win32', {listed})", windows)
    assert commands[:4] == [
        [r"C:\hostedtoolcache\windows\Python\3.12.0\x64\python.exe"],
        [r"C:\x\python.exe"],
        [r"C:\x\py.exe", "-3"],
        [r"C:\x\python3.exe"],
    ]
    assert commands[4] == [r"C:\hostedtoolcache\windows\Python\3.13.2\x64\python.exe"]
    mine = RUNNER | {"PATH": "", "pythonLocation": "/home/runner/work/web/web/.python"}
    assert ask("platform.mjs", "pythonCommands(a[0], 'darwin', () => [])", mine) == []


def test_variables_of_windows_have_no_case() -> None:
    said = {
        "ci_acme_config": "old",
        "PYTHONpath": "x",
        "Path": r"C:\x",
        "github_Env": "f",
        "Uv_Cache_Dir": "x",
        "a": "",
    }
    clean = ask("environment.mjs", "cleanEnvironment({CI_ACME_CONFIG: 'new'}, a[0], 'win32')", said)
    assert clean == {"Path": r"C:\x", "CI_ACME_CONFIG": "new"}, "one of two that Windows takes for one"
    said = {"Path": r"C:\x", "PIP_CERT": r"D:\my ca\ca.pem"}
    clean = ask("environment.mjs", r"installerEnvironment({PATH: 'D'}, a[0], 'win32', 'D:\\w')", said)
    assert clean["PIP_CERT"] == r"D:\my ca\ca.pem"
    assert [clean[name] for name in clean if name.upper() == "PATH"] == ["D"]
    assert ask("environment.mjs", "cleanEnvironment({A: 'new'}, {a: 'old'}, 'linux')") == {"a": "old", "A": "new"}


CHANGES_CODE = (
    "PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONUSERBASE PYTHONPLATLIBDIR __PYVENV_LAUNCHER__ LD_PRELOAD LD_AUDIT "
    "DYLD_INSERT_LIBRARIES GCONV_PATH OPENSSL_CONF OPENSSL_MODULES BASH_ENV ENV VIRTUAL_ENV PYENV_VERSION NODE_OPTIONS "
    "UV_OVERRIDE UV_CONSTRAINT UV_CONFIG_FILE UV_CACHE_DIR UV_PYTHON UV_EXCLUDE_NEWER UV_WORKING_DIR UV_SYSTEM_PYTHON "
    "UV_VENV_CLEAR UV_NO_VERIFY_HASHES PIP_CONSTRAINT PIP_TARGET PIP_USER PIP_PREFIX PIP_REQUIREMENT PIP_PYTHON "
    "PIP_NO_BINARY PIP_CACHE_DIR GITHUB_ENV GITHUB_PATH GITHUB_STATE INPUT_CONFIG STATE_directory"
)


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_what_would_change_the_code_or_later_steps_is_left_out(platform: str) -> None:
    said = dict.fromkeys(CHANGES_CODE.split(), "x")
    assert ask("environment.mjs", "cleanEnvironment({}, a[0], a[1])", said | {"OTHER": "x"}, platform) == {"OTHER": "x"}


def test_the_way_to_the_packages_is_kept() -> None:
    kept = {
        "UV_DEFAULT_INDEX": "https://i/simple",
        "UV_INDEX_COMPANY_PASSWORD": "x",
        "UV_PYTHON_INSTALL_MIRROR": "https://m",
        "UV_PYTHON_DOWNLOADS_JSON_URL": "https://m/list.json",
        "UV_PYTHON_INSTALL_DIR": "/opt/pythons",
        "PIP_INDEX_URL": "https://i/simple",
        "PIP_CONFIG_FILE": "/etc/company/pip.conf",
        "PIP_CERT": "/etc/ca.pem",
        "HTTPS_PROXY": "http://p:1",
        "LD_LIBRARY_PATH": "/opt/tools/Python/3.12.0/x64/lib",
    }
    assert ask("environment.mjs", "cleanEnvironment({}, a[0], 'linux')", kept) == kept
    inside = RUNNER | {
        "UV_PYTHON_DOWNLOADS_JSON_URL": "/home/runner/work/web/web/list.json",
        "UV_PYTHON_INSTALL_DIR": "/home/runner/work/web/web/pythons",
        "PIP_CONFIG_FILE": "pip.conf",
        "LD_LIBRARY_PATH": ":/home/runner/work/web/web/lib:lib",
    }
    assert ask("environment.mjs", "cleanEnvironment({}, a[0], 'linux')", inside) == RUNNER


def test_an_installer_has_no_identity_and_finds_what_stands_in_the_workspace() -> None:
    said = {"ACTIONS_ID_TOKEN_REQUEST_TOKEN": "t", "GITHUB_TOKEN": "t", "PIP_CERT": "ca.pem", "HOME": "/home/r"}
    said |= {"PIP_FIND_LINKS": "wheels https://w/x /w"}
    assert ask("environment.mjs", "installerEnvironment({}, a[0], 'linux', '/opt')", said) == {
        "PIP_CERT": "/opt/ca.pem",
        "SSL_CERT_FILE": "/opt/ca.pem",
        "NODE_EXTRA_CA_CERTS": "/opt/ca.pem",
        "PIP_FIND_LINKS": "/opt/wheels https://w/x /w",
        "HOME": "/home/r",
    }


def test_every_runner_has_a_uv() -> None:
    table = json.loads((ROOT / "action" / "uv.json").read_text())["wheels"]
    for platform in ("linux", "darwin", "win32"):
        for arch in ("x64", "arm64"):
            for musl in (True, False):
                name, digest = table[ask("platform.mjs", "wheelName(a[0], a[1], a[2])", platform, arch, musl)]
                assert ("win" in name) == (platform == "win32")
                assert len(digest) == 64
