import hashlib
import io
import json
import os
import shutil
import sys
import textwrap
import zipfile

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from aioboinc import errors
from aioboinc.program import bundle, signed_archive
from aioboinc.project import keys
from aioboinc.slave_runtime import signature, unpacking

PROJECT = "http://example.org/test/"


@pytest.fixture
def collect(tmp_path):
    """Return ``collect(files, include)``: write *files* and collect the program of ``slave.py`` among them."""

    def collect(files, include=()):
        write(tmp_path, files)
        return bundle.collect(tmp_path / "slave.py", include)

    return collect


@pytest.fixture
def fails(collect, tmp_path):
    """Return ``fails(files, include)``: the error's text, with paths relative to the program."""

    def fails(files, include=()):
        with pytest.raises(errors.ProgramError) as caught:
            collect(files, include)
        text = str(caught.value)
        assert "\n" not in text
        return text.replace(f"{tmp_path}/", "")

    return fails


@pytest.fixture(scope="module")
def key():
    return keys.PrivateKey(rsa.generate_private_key(65537, 2048))


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())


# What is bundled


def test_slave_alone(collect):
    sources = collect({"slave.py": "import sys, json, os.path\nprint(1)\n", "other.py": ""})
    assert sources.slave == "slave.py"
    assert sources.files == {"slave.py": b"import sys, json, os.path\nprint(1)\n"}
    assert sources.modules == {}


def test_local_modules_recursively(collect):
    sources = collect(
        {
            "slave.py": "import a\ndef f():\n    from b import thing\n",
            "a.py": "import c, a, b",
            "b.py": "import a",
            "c.py": "",
            "unused.py": "import nonsense",
        }
    )
    assert sources.modules == {"a": "a.py", "b": "b.py", "c": "c.py"}
    assert sorted(sources.files) == ["a.py", "b.py", "c.py", "slave.py"]


def test_packages(collect):
    sources = collect(
        {
            "slave.py": "import p.q.r\nfrom p import s, value\nfrom p.t import *",
            "p/__init__.py": "value = 1",
            "p/q/__init__.py": "from . import u\nfrom .. import v\nfrom ..w import x",
            "p/q/r.py": "from .y import z",
            "p/q/u.py": "",
            "p/q/y.py": "",
            "p/s.py": "from importlib import import_module\nimport_module('.lazy', __package__)",
            "p/t/__init__.py": "__all__ = ['inner', 'name']",
            "p/t/inner.py": "",
            "p/t/not_exported.py": "",
            "p/v.py": "",
            "p/w.py": "",
            "p/lazy.py": "",
            "p/unused.py": "",
        }
    )
    assert sources.modules == {
        "p": "p/__init__.py",
        "p.lazy": "p/lazy.py",
        "p.q": "p/q/__init__.py",
        "p.q.r": "p/q/r.py",
        "p.q.u": "p/q/u.py",
        "p.q.y": "p/q/y.py",
        "p.s": "p/s.py",
        "p.t": "p/t/__init__.py",
        "p.t.inner": "p/t/inner.py",
        "p.v": "p/v.py",
        "p.w": "p/w.py",
    }


def test_namespace_packages(collect):
    sources = collect(
        {
            "slave.py": "import space.a\nfrom space import b\nfrom space.deep.er import c",
            "space/a.py": "from . import d",
            "space/b.py": "",
            "space/d.py": "",
            "space/deep/er/c.py": "",
        }
    )
    assert sorted(sources.modules) == ["space.a", "space.b", "space.d", "space.deep.er.c"]


def test_package_before_module_before_namespace(collect):
    sources = collect(
        {
            "slave.py": "import a, b",
            "a/__init__.py": "",
            "a.py": "",
            "b/c.py": "",
            "b.py": "",
        }
    )
    assert sources.modules == {"a": "a/__init__.py", "b": "b.py"}


def test_folder_with_data_is_not_a_submodule(collect):
    sources = collect({"slave.py": "from p import data", "p/__init__.py": "data = 1", "p/data/x.bin": b"\0"})
    assert sorted(sources.files) == ["p/__init__.py", "slave.py"]


def test_local_modules_hide_the_standard_library(collect):
    assert collect({"slave.py": "import random", "random.py": ""}).modules == {"random": "random.py"}


def test_built_in_modules_are_not_hidden(collect):
    assert collect({"slave.py": "import sys, time", "sys.py": "", "time.py": ""}).modules == {}


def test_folders_hide_nothing(collect):
    sources = collect({"slave.py": "import test.support, pytest", "test/x.py": "", "pytest/x.py": ""})
    assert sources.modules == {}


def test_runtime_is_not_bundled(collect):
    sources = collect(
        {
            "slave.py": "import pyboinc, aioboinc.codec, __main__\nfrom pyboinc import pyboinc_get_input",
            "pyboinc.py": "",
            "aioboinc/codec.py": "",
        }
    )
    assert sources.modules == {}


def test_installed_modules_are_not_bundled(collect):
    assert collect({"slave.py": "import pytest\nfrom cryptography.hazmat import x"}).modules == {}


def test_master_program_may_be_imported(collect):
    sources = collect(
        {"slave.py": "import app_master", "app_master.py": "import types_of_mine", "types_of_mine.py": ""}
    )
    assert sorted(sources.modules) == ["app_master", "types_of_mine"]


def test_nothing_is_run(collect, tmp_path):
    marker = tmp_path / "ran"
    text = f"open({str(marker)!r}, 'w')"
    collect({"slave.py": f"import p.m\n{text}", "p/__init__.py": text, "p/m.py": text})
    assert not marker.exists()
    assert "p" not in sys.modules


def test_slave_in_another_folder(tmp_path, monkeypatch):
    write(tmp_path, {"sub/slave.py": "import a", "sub/a.py": "", "a.py": "wrong"})
    monkeypatch.chdir(tmp_path)
    sources = bundle.collect(bundle.Path("sub/slave.py"))
    assert sources.files == {"slave.py": b"import a", "a.py": b""}


def test_declared_encodings(collect):
    sources = collect(
        {
            "slave.py": "import a\nimport b\n",
            "a.py": "# -*- coding: latin-1 -*-\nname = 'é'\nimport c".encode("latin-1"),
            "b.py": b"\xef\xbb\xbfimport d\r\n",
            "c.py": "",
            "d.py": "",
        }
    )
    assert sorted(sources.modules) == ["a", "b", "c", "d"]
    assert sources.files["a.py"].count(b"\xe9") == 1
    assert sources.files["b.py"] == b"\xef\xbb\xbfimport d\r\n"


def test_warnings_of_the_compiler_are_for_the_host(collect):
    collect({"slave.py": "x = '\\d'\nassert (1, 'always')\n1 is 1\n"})


def test_long_chain_of_imports(collect):
    files = {f"m{n}.py": f"import m{n + 1}" for n in range(2000)}
    assert len(collect({"slave.py": "import m0", **files, "m2000.py": ""}).modules) == 2001


def test_each_file_is_read_once(collect, tmp_path):
    sources = collect({"slave.py": "import a", "a.py": "1"})
    (tmp_path / "a.py").write_text("2")
    assert sources.files["a.py"] == b"1"


# Imports that fail


def test_missing_module(fails):
    text = fails({"slave.py": "import os\n\nimport no_such_module"})
    assert text.startswith("slave.py:3: no module named 'no_such_module': put it into ")
    assert "install it" in text
    assert "try/except ImportError" in text


def test_missing_module_of_a_module(fails):
    text = fails({"slave.py": "import p.a", "p/__init__.py": "", "p/a.py": "def f():\n    import no_such_module"})
    assert text.startswith("p/a.py:2: no module named 'no_such_module'")


def test_missing_submodule(fails):
    files = {"p/__init__.py": "", "m.py": "", "space/a.py": ""}
    assert fails({**files, "slave.py": "import p.b"}).startswith("slave.py:1: no module named 'p.b'")
    assert fails({**files, "slave.py": "import m.b"}).startswith("slave.py:1: no module named 'm.b'")
    assert fails({**files, "slave.py": "from space import b"}).startswith("slave.py:1: no module named 'space.b'")
    assert fails({**files, "slave.py": "from p.b import c"}).startswith("slave.py:1: no module named 'p.b'")


def test_case_matters(fails):
    assert "no module named 'Helper'" in fails({"slave.py": "import Helper", "helper.py": ""})


def test_relative_import_without_a_package(fails):
    text = fails({"slave.py": "from . import a", "a.py": ""})
    assert text == (
        "slave.py:1: a relative import in a file that is not in a package: import the module by its name"
    )
    assert fails({"slave.py": "import b", "b.py": "\nfrom .a import x", "a.py": ""}).startswith(
        "b.py:2: a relative"
    )


def test_relative_import_out_of_the_package(fails):
    text = fails({"slave.py": "import p", "p/__init__.py": "from .. import a", "a.py": ""})
    assert text == "p/__init__.py:1: a relative import that leads out of the package"


@pytest.mark.parametrize(
    "source",
    [
        "try:\n    import no_such_module\nexcept ImportError:\n    pass",
        "try:\n    from . import a\nexcept ImportError:\n    import a",
        "if sys.version_info < (3, 8):\n    import no_such_module",
        "import importlib\ntry:\n    importlib.import_module('no_such_module')\nexcept Exception:\n    pass",
        "try:\n    import json\nexcept ImportError:\n    import no_such_module",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import no_such_module",
    ],
)
def test_optional_imports_may_be_missing(collect, source):
    collect({"slave.py": source, "a.py": ""})


def test_optional_imports_are_bundled(collect):
    source = "try:\n    import a\nexcept ImportError:\n    import b"
    assert sorted(collect({"slave.py": source, "a.py": "", "b.py": ""}).modules) == ["a", "b"]


def test_fallback_is_needed_if_the_other_is_missing(fails):
    text = fails({"slave.py": "try:\n    import no_such_module\nexcept ImportError:\n    import nor_this"})
    assert text.startswith("slave.py:4: no module named 'nor_this'")


OPTIONAL = "try:\n    import fast\nexcept ImportError:\n    pass\n"


def test_what_an_optional_module_imports_is_optional(collect, fails):
    files = {"fast.py": "import faster", "faster.py": "import no_such_module"}
    sources = collect({"slave.py": OPTIONAL, **files})
    assert sorted(sources.modules) == ["fast", "faster"]
    # Unless another module needs it, whichever comes first.
    for order in (OPTIONAL + "import a", "import a\n" + OPTIONAL):
        text = fails({"slave.py": order, "a.py": "import fast", **files})
        assert text.startswith("faster.py:1: no module named 'no_such_module'")


def test_modules_beside_the_running_program_are_not_installed(tmp_path, monkeypatch):
    write(tmp_path, {"main/helper.py": "", "main/slaves/slave.py": "import helper"})
    monkeypatch.setattr(sys, "path", [str(tmp_path / "main"), *sys.path])
    with pytest.raises(
        errors.ProgramError, match=r"hosts have no module named 'helper': .*/main/helper\.py is for"
    ):
        bundle.collect(tmp_path / "main/slaves/slave.py")


def test_modules_on_pythonpath_are_not_installed(tmp_path, monkeypatch):
    write(tmp_path, {"lib/helper/__init__.py": "", "prog/slave.py": "import helper"})
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "lib")])
    bundle.collect(tmp_path / "prog/slave.py")
    monkeypatch.setenv("PYTHONPATH", f"/nowhere{os.pathsep}{tmp_path / 'lib'}")
    with pytest.raises(errors.ProgramError, match="hosts have no module named 'helper'"):
        bundle.collect(tmp_path / "prog/slave.py")


def test_namespace_package_that_is_installed_in_part(tmp_path, monkeypatch):
    write(tmp_path, {"lib/space/b.py": "", "prog/slave.py": "import space.a, space.b", "prog/space/a.py": ""})
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "lib")])
    assert bundle.collect(tmp_path / "prog/slave.py").modules == {"space.a": "space/a.py"}


# Files that fail


def test_missing_slave(fails):
    assert fails({}).startswith("slave.py: no such slave file")


def test_slave_that_is_a_folder(fails):
    assert fails({"slave.py/x": ""}) == "slave.py is a folder: a slave is a Python file"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 1\ny = = 2\n", "slave.py:2: invalid syntax"),
        ("return 1", "slave.py:1: 'return' outside function"),
        ("await f()", "slave.py:1: 'await' outside function"),
        (b"\n\n  x = 1", "slave.py:3: unexpected indent"),
        (b"x = '\xe9'", "slave.py"),
        (b"# coding: no-such-codec\n", "slave.py"),
        (b"x = 1\0", "slave.py"),
        (b"x = " + b"-" * 20000 + b"1", "slave.py: nested too deeply"),
        (b"x = " + b"1 + " * 20000 + b"1", "slave.py: nested too deeply"),
    ],
)
def test_syntax_errors(fails, source, expected):
    assert fails({"slave.py": source}).startswith(expected)


def test_syntax_error_in_a_module(fails):
    assert fails({"slave.py": "import a", "a.py": "1\n2\n!"}).startswith("a.py:3: ")


def test_top_level_await_of_a_master_that_is_imported(fails):
    assert fails({"slave.py": "import master", "master.py": "\nawait x"}).startswith("master.py:2: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file(collect, fails, tmp_path):
    collect({"slave.py": "import a", "a.py": ""})
    (tmp_path / "a.py").chmod(0)
    assert "Permission denied" in fails({})


def test_dangling_link(fails, tmp_path):
    (tmp_path / "a.py").symlink_to(tmp_path / "nothing")
    assert (
        fails({"slave.py": "import a"}) == "a.py: neither a file nor a folder: it can't go to hosts, leave it out"
    )


def test_pipe_is_not_read(fails, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert (
        fails({"slave.py": ""}, ["pipe"])
        == "pipe: neither a file nor a folder: it can't go to hosts, leave it out"
    )


def test_size_limit(collect, fails, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "MAX_BYTES", 1 << 20)
    assert len(collect({"slave.py": b"", "data": bytes(1 << 20)}, ["data"]).files["data"]) == 1 << 20
    assert fails({"slave.py": b"1"}, ["data"]).startswith("data: with it the program has more than 1 MiB")
    with (tmp_path / "data").open("wb") as file:
        file.truncate(1 << 40)
    assert "more than 1 MiB" in fails({}, ["data"])


# include


def test_include(collect, tmp_path):
    sources = collect(
        {
            "slave.py": "",
            "one.txt": "1",
            "data/two.bin": b"\0\xff",
            "data/deep/three.txt": "",
            "data/.hidden": "",
            "data/.git/config": "",
            "data/__pycache__/x.pyc": b"",
            ".dotfile": "",
            "other/four.txt": "",
        },
        ["one.txt", "data/", tmp_path / "other" / ".." / "other", ".dotfile", "one.txt"],
    )
    assert sorted(sources.files) == [
        ".dotfile",
        "data/deep/three.txt",
        "data/two.bin",
        "one.txt",
        "other/four.txt",
        "slave.py",
    ]
    assert sources.files["data/two.bin"] == b"\0\xff"
    assert sources.modules == {}


def test_included_python_files_are_modules(collect):
    sources = collect(
        {
            "slave.py": "",
            "plugins/__init__.py": "",
            "plugins/a.py": "import helper\nimport no_such_module",
            "plugins/broken.py": "print 'Python 2'",
            "plugins/not-a-module.py": "import unused",
            "scripts/run.py": "from . import x",
            "helper.py": "",
            "unused.py": "",
        },
        ["plugins", "scripts"],
    )
    assert sources.modules == {
        "helper": "helper.py",
        "plugins": "plugins/__init__.py",
        "plugins.a": "plugins/a.py",
        "plugins.broken": "plugins/broken.py",
        "scripts.run": "scripts/run.py",
    }
    assert "plugins/not-a-module.py" in sources.files


def test_included_module_brings_its_packages(collect):
    sources = collect({"slave.py": "", "p/__init__.py": "import a", "p/m.py": "", "a.py": ""}, ["p/m.py"])
    assert sorted(sources.modules) == ["a", "p", "p.m"]


def test_included_file_that_another_hides_is_data(collect):
    sources = collect({"slave.py": "", "a/__init__.py": "", "a.py": "", "test/x.py": ""}, ["a.py", "test"])
    assert sources.modules == {"a": "a/__init__.py"}
    assert {"a.py", "test/x.py"} <= set(sources.files)


def test_including_what_is_imported_excuses_nothing(fails):
    files = {"slave.py": "import p.a", "p/__init__.py": "", "p/a.py": "import no_such_module"}
    assert fails(files, ["p"]).startswith("p/a.py:1: no module named")


def test_slave_is_not_a_module(collect):
    assert collect({"slave.py": ""}, ["slave.py"]).modules == {}


@pytest.mark.parametrize("item", ["../other.txt", "a/../../other.txt", "/etc/passwd", "..", ".", "a/.."])
def test_include_outside_of_the_folder(fails, item):
    text = fails({"slave.py": "", "a/b": ""}, [item])
    assert text.startswith(f"include {item!r}: name files and folders inside ")


def test_include_missing(fails):
    assert fails({"slave.py": ""}, ["data/x.txt"]) == "include 'data/x.txt': there is no data/x.txt"


def test_links_are_followed(collect, tmp_path):
    write(tmp_path.parent / f"{tmp_path.name}_elsewhere", {"f.txt": "content", "d/g.txt": ""})
    (tmp_path / "data").symlink_to(tmp_path.parent / f"{tmp_path.name}_elsewhere")
    sources = collect({"slave.py": ""}, ["data"])
    assert sources.files["data/f.txt"] == b"content"
    assert "data/d/g.txt" in sources.files


def test_links_in_a_circle(fails, tmp_path):
    write(tmp_path, {"data/a.txt": ""})
    (tmp_path / "data" / "loop").symlink_to(tmp_path / "data")
    assert (
        fails({"slave.py": ""}, ["data"]) == "data/loop: a link to a folder that it lies in: include files by name"
    )


@pytest.mark.parametrize("name", ["MANIFEST.json", "SIGNATURE"])
def test_reserved_names(fails, name):
    assert "rename it" in fails({"slave.py": "", name: ""}, [name])


@pytest.mark.parametrize("name", ["a\\b", "a:b", "a\nb", "a?", "a\udcff"])
def test_names_that_some_hosts_cannot_have(fails, tmp_path, name):
    with open(os.fsencode(tmp_path / name), "w"):
        pass
    assert "some hosts can't have a file of that name" in fails({"slave.py": ""}, [name])


def test_names_that_are_one_on_some_hosts(fails):
    text = fails({"slave.py": "", "data/A.txt": "", "data/a.txt": ""}, ["data"])
    assert text == "data/a.txt: on some hosts this is the same file as data/A.txt: rename one of them"
    assert "same file" in fails({"slave.py": "", "d/\u00e9": "", "d/e\u0301": ""}, ["d"])


# fingerprint, archive, registry

FILES = {
    "slave.py": "import b.c, a\n",
    "a.py": "class A: pass\n",
    "b/__init__.py": "",
    "b/c.py": "class C: pass\n",
    "data/ü.bin": bytes(range(256)),
}


def test_fingerprint(collect, tmp_path):
    first = collect(FILES, ["data"])
    assert len(bytes.fromhex(first.fingerprint)) == 32
    assert collect(FILES, ["data"]) == first
    assert hash(collect(FILES, ["data"])) == hash(first)
    fingerprints = {
        first.fingerprint,
        collect(FILES).fingerprint,
        collect({**FILES, "a.py": "class A: pass"}, ["data"]).fingerprint,
        collect({**FILES, "slave.py": "import b.c\n"}, ["data"]).fingerprint,
    }
    assert len(fingerprints) == 4
    shutil.copy(tmp_path / "slave.py", tmp_path / "copy.py")
    assert bundle.collect(tmp_path / "copy.py", ["data"]).fingerprint not in fingerprints


def test_fingerprint_does_not_depend_on_the_folder(tmp_path):
    fingerprints = set()
    for folder in ("one", "two/deeper"):
        write(tmp_path / folder, FILES)
        fingerprints.add(bundle.collect(tmp_path / folder / "slave.py", ["data"]).fingerprint)
    assert len(fingerprints) == 1


def test_program_file(collect, key):
    sources = collect(FILES, ["data"])
    built = signed_archive.build(sources, PROJECT, key)
    with zipfile.ZipFile(io.BytesIO(built)) as archive:
        names = archive.namelist()
        contents = {name: archive.read(name) for name in names}
    assert names == ["MANIFEST.json", "SIGNATURE", *sorted(sources.files)]
    manifest, signed = contents.pop("MANIFEST.json"), contents.pop("SIGNATURE")
    assert contents == sources.files
    fields = json.loads(manifest)
    assert fields == {
        "pyboinc_program": 1,
        "slave": "slave.py",
        "project": PROJECT,
        "modules": {"a": "a.py", "b": "b/__init__.py", "b.c": "b/c.py"},
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in sources.files.items()},
    }
    assert manifest == json.dumps(fields, sort_keys=True, separators=(",", ":")).encode("ascii") + b"\n"
    key._key.public_key().verify(signed, manifest, padding.PKCS1v15(), hashes.SHA256())


def test_program_file_is_reproducible(tmp_path, key):
    built = set()
    for number, folder in enumerate(("one", "two/deeper")):
        umask = os.umask((0o022, 0o077)[number])
        try:
            write(tmp_path / folder, dict(sorted(FILES.items(), reverse=bool(number))))
        finally:
            os.umask(umask)
        for path in (tmp_path / folder).rglob("*"):
            os.utime(path, (number * 10**9, number * 10**9))
        (tmp_path / folder / "slave.py").chmod((0o755, 0o600)[number])
        built.add(signed_archive.build(bundle.collect(tmp_path / folder / "slave.py", ["data"]), PROJECT, key))
    assert len(built) == 1


def test_order_of_include_does_not_matter(collect, key):
    files = {**FILES, "x": "", "y": ""}
    one, other = collect(files, ["x", "y"]), collect(files, ["y", "x"])
    assert one.fingerprint == other.fingerprint
    assert signed_archive.build(one, PROJECT, key) == signed_archive.build(other, PROJECT, key)


def test_project_and_key_are_in_the_file_only(collect, key):
    sources = collect(FILES)
    other = keys.PrivateKey(rsa.generate_private_key(65537, 2048))
    assert (
        len(
            {
                signed_archive.build(sources, PROJECT, key),
                signed_archive.build(sources, "x", key),
                signed_archive.build(sources, PROJECT, other),
            }
        )
        == 3
    )


def test_hosts_accept_it(collect, key, tmp_path):
    sources = collect(FILES, ["data"])
    path = tmp_path / "program.zip"
    path.write_bytes(signed_archive.build(sources, PROJECT, key))
    unpacked = unpacking.unpack(str(path), str(tmp_path / "unpacked"), signature.parse(key.public_json))
    assert (unpacked.slave, unpacked.modules) == (sources.slave, sources.modules)
    assert unpacked.sha256 == hashlib.sha256(path.read_bytes()).digest()
    found = {
        path.relative_to(tmp_path / "unpacked").as_posix(): path.read_bytes()
        for path in (tmp_path / "unpacked").rglob("*")
        if path.is_file()
    }
    assert found == sources.files


def test_registry(collect, tmp_path, monkeypatch):
    files = {
        "slave.py": "import registry_types, registry_package.sub, registry_cycle\nclass S: pass",
        "registry_types.py": "class T: pass",
        "registry_package/__init__.py": "",
        "registry_package/sub.py": "class U: pass",
        "registry_cycle.py": "import slave",
    }
    sources = collect(files)
    assert sources.modules["slave"] == "slave.py"
    registry = bundle.registry(sources)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert registry.find("registry_types", "T").__name__ == "T"
    assert registry.find("registry_package.sub", "U").__name__ == "U"
    for module, name in (("slave", "S"), ("__main__", "S"), ("json", "JSONDecoder"), ("registry_types", "V")):
        with pytest.raises(LookupError):
            registry.find(module, name)
    for name in ("registry_types", "registry_package", "registry_package.sub"):
        monkeypatch.delitem(sys.modules, name, raising=False)
