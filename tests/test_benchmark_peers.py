"""The benchmark beside other toolkits: rounds, ratios and table, with peers that do nothing."""

import json
import sys

import pytest

from preprocess.errors import WholewordError
from scripts import benchmark_peers as peers
from scripts.benchmark_peers import OURS, Peer, Timing


def fake(name, code, *arguments):
    command = [sys.executable, "-I", "-S", "-c", code, *arguments]
    return Peer(name, "none", lambda text, tokenizer, output: [[*command, str(text.lines)]])


@pytest.fixture
def texts(tmp_path):
    lines = [f"第{i}行" for i in range(100)]
    return peers.prepare(lines[:20], tmp_path / "few"), peers.prepare(lines, tmp_path / "whole")


def test_the_forms_of_a_text_hold_the_same_documents(texts):
    _, whole = texts
    content = whole.lines.read_bytes()
    assert len(content) == whole.bytes and content.count(b"\n") == 100
    assert whole.blank_lines.read_text().split("\n\n")[:-1] == content.decode().splitlines()


def test_rates_are_without_start_up_and_ratios_of_one_round():
    timings = {
        OURS: [Timing(1, 2, 600), Timing(1, 3, 600), Timing(1, 2, 600)],
        "peer": [Timing(2, 12, 60), Timing(2, 26, 60), Timing(2, 22, 60)],
    }
    results = peers.figures(timings)
    assert results[f"{OURS}: rate"].value == 600 and results["peer: rate"].value == 3
    assert results["peer: ours_by_theirs"].value == pytest.approx(120)  # of 100, 120 and 200
    assert results[f"{OURS}: ours_by_theirs"].value == 1
    assert results["peer: start_up"].value == 2


def test_rounds_take_turns_and_end_in_a_table_and_json(texts, tmp_path, capsys):
    few, whole = texts
    log = tmp_path / "log"
    code = "import sys; open(sys.argv[1], 'a').write(sys.argv[2] + sys.argv[3][-11] + ' ')"
    contestants = [fake(OURS, code, str(log), "a"), fake("peer", code, str(log), "b")]
    timings = peers.measure(contestants, few, {OURS: whole, "peer": whole}, tmp_path, 2)
    assert log.read_text().split() == ["aw", "bw"] + 2 * ["aw", "ae", "bw", "be"]
    results = peers.figures(timings)
    peers.report(contestants, results, whole.bytes, 2)
    peers.write_json(tmp_path / "peers.json", "peers", results)
    assert "peer" in capsys.readouterr().out
    written = json.loads((tmp_path / "peers.json").read_text())["results"]
    assert written["peer: rate"]["unit"] == "bytes/s" and len(written) == 6


def test_a_peer_that_fails_is_named_with_its_last_words(texts, tmp_path):
    broken = fake("peer", "import sys; print('no such option'); sys.exit(3)")
    with pytest.raises(WholewordError, match=r"(?s)peer failed.*no such option"):
        peers.processor_seconds(broken, texts[0], tmp_path)


def test_a_file_of_few_lines_is_refused(tmp_path):
    (tmp_path / "short.txt").write_text("一\n\n二\n")
    with pytest.raises(WholewordError, match="has 2 lines"):
        peers.read_lines(tmp_path / "short.txt")
