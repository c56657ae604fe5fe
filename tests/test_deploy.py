"""What lies in deploy/ goes with the code: nothing here runs a container."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from xmem.limits import PROFILES

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
NGINX = (ROOT / "deploy" / "nginx.conf").read_text()


def copied() -> list[str]:
    """What the image takes from the checkout."""
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    return [name for line in lines for name in line.split()]


def test_what_the_image_takes_exists_and_is_let_through():
    let = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert len(copied()) > 6
    for name in copied():
        assert (ROOT / name).exists() and any(fnmatch(name, pattern) for pattern in let), name


def test_the_image_runs_as_nobody_in_particular_and_looks_after_itself():
    last = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    assert re.search(r"^USER \d+$", last, re.MULTILINE) and "/healthz" in last
    ports = set(re.findall(r"(?:EXPOSE |127\.0\.0\.1:|\"--port\", \")(\d+)", last))
    assert ports == {"7860"} == set(re.findall(r"server page:(\d+);", NGINX))


@pytest.mark.parametrize("file", ["deploy/compose.yaml", "deploy/xmem.service", "deploy/Dockerfile"])
def test_everything_takes_the_same_limits(file):
    assert "--profile" in DOCKERFILE and '"space"' in DOCKERFILE
    assert "latest" not in (ROOT / file).read_text(), "versions are named"


def test_the_proxy_lets_through_what_the_page_allows_and_leads_a_visitor_to_the_same_page():
    (most,) = re.findall(r"client_max_body_size (\d+)m;", NGINX)
    upload = PROFILES["space"]["upload_bytes"]
    assert upload < int(most) * 1_000_000 < 1.1 * upload
    assert "ip_hash;" in NGINX and "proxy_set_header Host $http_host;" in NGINX and "proxy_buffering off;" in NGINX
