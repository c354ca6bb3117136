"""Registered domains: what Let's Encrypt counts by."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ci_acme.dns.registered import registered_domain, registered_domains


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("example.com", "example.com"),
        ("*.a.b.example.com", "example.com"),
        ("www.example.co.uk", "example.co.uk"),
        ("pr-1.team.github.io", "team.github.io"),
        ("github.io", "github.io"),
        ("*.co.uk", "co.uk"),
        ("a.b.example.test", "example.test"),
        ("www.xn--85x722f.xn--55qx5d.cn", "xn--85x722f.xn--55qx5d.cn"),
        ("a.b.c.kobe.jp", "b.c.kobe.jp"),
        ("www.city.kobe.jp", "city.kobe.jp"),
    ],
)
def test_registered_domain(name: str, domain: str) -> None:
    assert registered_domain(name) == domain


def test_several_names() -> None:
    assert registered_domains(["b.example.org", "*.a.example.com", "a.example.com"]) == ["example.com", "example.org"]


def test_the_list_is_loaded_by_who_needs_it() -> None:
    program = "import sys, ci_acme.dns.registered, ci_acme.runner; print('publicsuffixlist' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
