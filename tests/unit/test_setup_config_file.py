import pytest

from aioboinc.setup import config_file

DOCUMENT = b"""<?xml version="1.0" ?>
<!-- kept by hand: <daemons><daemon><cmd>not this one</cmd></daemon></daemons> -->
<boinc>
    <config>
        <long_name>Sch\xc3\xb6n &amp; gut</long_name>
        <flag a="/>" b='>'/>
    </config>
    <daemons>
        <daemon>
            <cmd>feeder -d 3 </cmd>
        </daemon>
        <daemon><cmd>transitioner</cmd></daemon> <!-- last -->
    </daemons>
</boinc>
<!-- the end -->
"""
ELEMENT = "<daemon>\n    <cmd>ours</cmd>\n</daemon>"
PATH = ("boinc", "daemons")


def commands(document):
    return [element.children.get("cmd") for element in config_file.find(document, *PATH, "daemon")]


def ours(document):
    found = config_file.find(document, *PATH, "daemon")
    return [element for element in found if element.children["cmd"] == "ours"]


def test_find():
    assert commands(DOCUMENT) == ["feeder -d 3", "transitioner"]
    first, second = config_file.find(DOCUMENT, *PATH, "daemon")
    assert DOCUMENT[first.start : first.end].startswith(b"<daemon>\n")
    assert DOCUMENT[second.start : second.end] == b"<daemon><cmd>transitioner</cmd></daemon>"
    (flag,) = config_file.find(DOCUMENT, "boinc", "config", "flag")
    assert DOCUMENT[flag.start : flag.end] == b"""<flag a="/>" b='>'/>"""
    assert flag.empty_tag


def test_append_leaves_the_rest_alone():
    changed = config_file.append(DOCUMENT, PATH, ELEMENT)
    inserted = b"\n        <daemon>\n            <cmd>ours</cmd>\n        </daemon>"
    before, _, after = DOCUMENT.partition(b" <!-- last")
    assert changed == before + inserted + b" <!-- last" + after
    assert commands(changed) == ["feeder -d 3", "transitioner", "ours"]


@pytest.mark.parametrize(
    "document",
    [
        DOCUMENT,
        DOCUMENT.replace(b"\n", b"\r\n"),
        DOCUMENT.replace(b"\n", b""),
        DOCUMENT.replace(b"        ", b"\t"),
        b"\xef\xbb\xbf" + DOCUMENT,
        b"<?xml version='1.0' encoding='iso-8859-1'?><boinc>\xe9<daemons>\xe9</daemons></boinc>",
        b"<boinc><daemons></daemons></boinc>",
        b"<boinc><daemons>\n    <!-- none -->\n</daemons></boinc>",
    ],
)
def test_remove_is_the_inverse(document):
    changed = config_file.append(document, PATH, ELEMENT, ELEMENT)
    assert commands(changed) == [*commands(document), "ours", "ours"]
    assert changed.count(b"\r\n") in (0, changed.count(b"\n"))
    assert config_file.remove(changed, ours(changed)) == document


@pytest.mark.parametrize("document", [b"<boinc>\n  <daemons/>\n</boinc>", b"<boinc/>", b"<boinc>\n</boinc>\n"])
def test_a_missing_parent_is_made(document):
    changed = config_file.append(document, PATH, ELEMENT)
    assert commands(changed) == ["ours"]
    left = config_file.remove(changed, ours(changed))
    assert commands(left) == []
    assert config_file.equivalent(left, document) or b"<daemons" not in document


def test_equivalent():
    assert config_file.equivalent(b"<a> <b>x</b><c/></a>\n", b"<a><b> x\r\n</b>\n<c>\n</c></a>")
    assert not config_file.equivalent(b"<a><b>x</b></a>", b"<a><b>y</b></a>")
    assert not config_file.equivalent(b"<a><b>x</b></a>", b"<a><b>x</b><!-- new --></a>")


@pytest.mark.parametrize("document", [b"", b"<boinc>", b"<boinc></config>", DOCUMENT.decode().encode("utf-16")])
def test_malformed(document):
    with pytest.raises(config_file.Malformed):
        config_file.append(document, PATH, ELEMENT)


def test_another_root():
    with pytest.raises(config_file.Malformed, match="no <boinc> element"):
        config_file.append(b"<config/>", PATH, ELEMENT)
