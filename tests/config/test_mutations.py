"""Whatever a config file holds, the answer is a configuration or a `ConfigError` with places in the file."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from ci_acme.config.load import Loaded
from ci_acme.errors import ConfigError

ROUNDS = 20
SEEDS = 150  # 3,000 mutated configs
JUNK = (
    "null", "~", "true", "-1", "1e999", ".nan", "0o17", "9" * 60, "[]", "{}", "''", "[[[]]]", "{a: {b: [c]}}",
    "- x", "? y", "&a [*a]", "*nowhere", "&x y", "<<: *x", "!!binary x", "!x y", "'", '"', '"\\q"', "|", ">-",
    "%YAML 1.1", "---", "...", "\t", "\x00", "\x85", "\ufeff", "\u2028", "${environment}", "${env.HOME}",
    "${env.NOPE}", "${x}", "${", "$$", ": :", "a: b: c", "{a:b}", "@", "`", "é", "*.*.x", "1.2.3.4", "xn--a",
    "x" * 300, "2001-01-01", "1:30", "no", "\r", "#", "provider: aws-acm", "provider: hook", "zone: .", "env:",
    "file:", "vault:x", "aws-kms:x", "http://x", "https://[", "[::1",
)  # fmt: skip


def delete(lines: list[str], rng: random.Random) -> None:
    del lines[rng.randrange(len(lines))]


def duplicate(lines: list[str], rng: random.Random) -> None:
    lines.insert(rng.randrange(len(lines)), rng.choice(lines))


def swap(lines: list[str], rng: random.Random) -> None:
    a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]


def insert(lines: list[str], rng: random.Random) -> None:
    lines.insert(rng.randrange(len(lines)), " " * rng.randrange(8) + rng.choice(JUNK))


def change_value(lines: list[str], rng: random.Random) -> None:
    index = rng.randrange(len(lines))
    key, colon, _ = lines[index].partition(": ")
    lines[index] = f"{key}{colon}{rng.choice(JUNK)}"


def change_key(lines: list[str], rng: random.Random) -> None:
    index = rng.randrange(len(lines))
    indent = len(lines[index]) - len(lines[index].lstrip())
    _, colon, value = lines[index].partition(": ")
    lines[index] = f"{' ' * indent}{rng.choice(JUNK)}{colon}{value}"


def indent(lines: list[str], rng: random.Random) -> None:
    index = rng.randrange(len(lines))
    lines[index] = rng.choice(["  ", " ", "\t", "- "]) + lines[index]


def dedent(lines: list[str], rng: random.Random) -> None:
    index = rng.randrange(len(lines))
    lines[index] = lines[index].removeprefix("  ")


def nest(lines: list[str], rng: random.Random) -> None:
    index, depth = rng.randrange(len(lines)), rng.choice([5, 40, 3000])
    key, colon, _ = lines[index].partition(": ")
    lines[index] = f"{key}{colon}{'[' * depth}{rng.choice(['', ']' * depth])}"


def splice(lines: list[str], rng: random.Random) -> None:
    index = rng.randrange(len(lines))
    position = rng.randrange(len(lines[index]) + 1)
    lines[index] = lines[index][:position] + rng.choice(JUNK) + lines[index][position:]


def laugh(lines: list[str], rng: random.Random) -> None:
    bomb = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    bomb += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, rng.choice([2, 5, 12]))]
    lines.extend(bomb)


MUTATORS: tuple[Callable[[list[str], random.Random], None], ...] = (
    delete, duplicate, swap, insert, change_value, change_value, change_key, indent, dedent, nest, splice, splice,
    laugh,
)  # fmt: skip


def mutate(text: str, rng: random.Random) -> bytes:
    lines = text.splitlines()
    for _ in range(rng.choice([1, 1, 1, 2, 3, 6])):
        rng.choice(MUTATORS)(lines, rng)
        lines = lines or [""]
    data = bytearray("\n".join(lines).encode())
    if rng.random() < 0.15:
        for _ in range(rng.randrange(1, 9)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def check(data: bytes, load: Callable[..., Loaded]) -> bool:
    lines = len(data.splitlines()) + 1
    try:
        loaded = load(data, {"HOME": "/home/x"})
    except ConfigError as error:
        places = [(item["file"], item["line"], item["column"]) for item in error.details["problems"]]
        assert places
        assert all(file == "c.yaml" and 1 <= line <= lines and column >= 1 for file, line, column in places)
        return False
    assert loaded.config.version == 1
    return True


@pytest.mark.parametrize("block", range(SEEDS // 10))
def test_mutated_configs_are_loaded_or_refused(block: int, built: str, load: Callable[..., Loaded]) -> None:
    valid = 0
    for seed in range(block * 10 * ROUNDS, (block + 1) * 10 * ROUNDS):
        rng = random.Random(seed)
        data = mutate(built, rng)
        try:
            valid += check(data, load)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r}\n{data!r}") from error
    assert 0 < valid < 10 * ROUNDS, "mutations that never, or never not, break the config test nothing"


def test_random_bytes_are_refused(load: Callable[..., Loaded]) -> None:
    rng = random.Random(1)
    for _ in range(300):
        assert not check(rng.randbytes(rng.randrange(200)), load)
