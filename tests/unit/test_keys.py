import hashlib
import json
import os
import stat

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from aioboinc import errors
from aioboinc.project import keys
from aioboinc.slave_runtime import signature

# Keys made with `openssl genrsa` for these tests, and what openssl signs with them.
PROGRAM_PRIMES = (
    int(
        "ea67ef929715df2a9f5209c6bccd89d1ee46ae3c9879688500a4a31bd98ca378492292a49e9fc1efd5e00ae6927dc86d"
        "eb4d734dc05a628a1481d0df5dd7b5deebcc6d801a67cec2dc8e63a2d9514eba22ced07b1d4732daf85cf9172d7e6926"
        "cbbef81adfcea94eaebcf0442c8dca5cd349ebaf2df42bc48a9ef214d7e9c459",
        16,
    ),
    int(
        "ca6939478fa06dd561de72d6a8f069728b5fc62ebc4a3d3e40f116600664f54442663a544b3dce0e14e0a2ac6fed4e55"
        "dcda4dc56d4a75cee84315bcfa2b93d9760e10faa6a3b83516adf7b23aa9a06e388fef4289b521abd384d8233faea849"
        "95238041715460b4cbb48895d74876604ce8cf03162360197ee1dfcb1a1af1d9",
        16,
    ),
)
# printf manifest | openssl dgst -sha256 -sign KEY
MANIFEST_SIGNATURE = bytes.fromhex(
    "9be97df78184a731d7604a4e6b5b61deb0274c89e55b948755cbc2ba57559e78"
    "7e942b2313c45570ff81ea0364e5195e2165f81cc61824aaceb5897ef9dc3ad9"
    "3c2971f8a6043367fa26c35e6eeeeccf9b708c8562d5f97bc433f5e414b20448"
    "1d9844d97da7eae7971f49398da8103adbd357afdea8c0326b066637fbb29047"
    "1f451eb1e80044b8c84def2c880ab101a8b2f9d76b0dc0713d09a0e433142147"
    "99b74300baf98eab257c841aa78364ce289b4b4dfc8553ee87b7756f091979c7"
    "5a09fdc42f605256b15ba2b84b60e8351c68847541109baa6928435775354f3d"
    "2ea632174e78e58c8b8099d6eb95770bb8b4e52b976a8c5ab40ea894212ffa71"
)
CODE_SIGN_PUBLIC = """\
1024
aea0754f364cf3ad8f800ff294d8fc004d71bdff3c67cd25f9548cce16a98902
5e4c0a7197eee53b3eacd2eaedcb5fa9b401ced388cb22d0a1100469446a9bb6
f08b1bd27422c1ae4c720273ecf2aae67352e60aa4f1dfdec6f8b62938f9ce31
964c220d2dc43ed323c5d74a7419eed3acdc1985f1a5c3b438ed7349351f5125
0000000000000000000000000000000000000000000000000000000000000000
0000000000000000000000000000000000000000000000000000000000000000
0000000000000000000000000000000000000000000000000000000000000000
0000000000000000000000000000000000000000000000000000000000010001
.
"""
CODE_SIGN_PRIVATE = (
    CODE_SIGN_PUBLIC.removesuffix(".\n")
    + """\
3f6d50aea0ce7a83c3e783e35c6523c3085e13e0ad1416d3802851ac5956e2c8
d56f512bc93fa04b508c7d5f8f579b3b8c824b9951ca56aee89164c8c76ce179
8ac5821699180c1db47ad62971714e660ae394fed9fe9363848383d0d6a3f21b
3af959701fe4f309ac1c393eaaa8c50922bddae726d731ac1875d723ba8770d1
e861617bbab7996258ece9a7e51d5bc2f606ffdefd33a29aeee9214440c5ad6d
ac75b18fd90a214b18664d44617b5942856c204f3e82e4b422c3a716d9f3e41f
c0604ef6f99db0c61dabf4eabfebae211c0ef1a151fe31328d435426078274a8
c1e925d66828dae95136c95badf6a5347ee75fabf2b10a3db55a1c738dae823b
85a6c487822b68a79cd79dc777c9fbe5d4d4cfc333c3c7e8ee31dd7540ffb0b0
9c791087d85fb0285dbf30ff7c45925fe516fc3a378cd6f717eb89a565f39527
40e47bde8dc726a93dbb12abd93f8c06792b85509092f94f7f1d561659f4249c
04853c113e2381ecb04b95d2ca34e7f77453620f63975ac80413b8833628c69f
7b11eb9fad697fed0e3cebdefd22066dea3307bfbf81038d0354bd75ff3bceb3
5191440b4d037c98ba81b08a448776ae6ab58d8c8a1f0d3daf195223645e3a6f
.
"""
)
# printf %s MD5_OF_HELLO | openssl pkeyutl -sign -pkeyopt rsa_padding_mode:pkcs1; so does BOINC's crypt_prog.
HELLO = b"hello\n"
HELLO_MD5 = "b1946ac92492d2347c6235b4d2611184"
HELLO_SIGNATURE = """\
0685f81d21daae37c4ab787c32f9aad6eb16039020ff4e6e0b85f519ad9717d3
b25f33905444a49e90995dad671e0b2e80c11f4ea71a1c34fdf1f6427879b439
7b77fa488280883cb37341618d4cbd3f35c783fac97876dc9f7c9e781d92e4e2
d098473fbe62a11f66e2914fe39b461649741c853fa809e9f486705aff017d25
.
"""


def rsa_from_primes(p, q, e=65537):
    d = pow(e, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(e, p * q)
    crt = rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q)
    return rsa.RSAPrivateNumbers(p, q, d, *crt, public).private_key()


def pem(key, encryption=None):
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        encryption or serialization.NoEncryption(),
    )


@pytest.fixture
def program_key(tmp_path):
    path = tmp_path / "private.pem"
    path.write_bytes(pem(rsa_from_primes(*PROGRAM_PRIMES)))
    return keys.load(path)


@pytest.fixture
def public(tmp_path):
    return keys.load_code_sign_public(write(tmp_path / "public", CODE_SIGN_PUBLIC))


@pytest.fixture
def private(tmp_path):
    return keys.load_code_sign_private(write(tmp_path / "private", CODE_SIGN_PRIVATE))


def write(path, text):
    path.write_text(text)
    return path


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


# Program keys


def test_signature_is_that_of_openssl(program_key):
    assert program_key.sign(b"manifest") == MANIFEST_SIGNATURE


def test_public_json(program_key):
    text = program_key.public_json
    assert json.loads(text) == {"n": f"{PROGRAM_PRIMES[0] * PROGRAM_PRIMES[1]:x}", "e": 65537}
    assert text.startswith(b'{"e":65537,"n":"b9565c1d')
    assert text.endswith(b'"}\n')


def test_hosts_accept_it(program_key):
    key = signature.parse(program_key.public_json)
    assert signature.verify(b"manifest", program_key.sign(b"manifest"), key)
    assert not signature.verify(b"manifesT", program_key.sign(b"manifest"), key)


def test_create_and_load(tmp_path):
    private_path, public_path = tmp_path / "k" / "private", tmp_path / "k" / "public"
    private_path.parent.mkdir()
    umask = os.umask(0o000)
    try:
        key = keys.create(private_path, public_path)
    finally:
        os.umask(umask)
    assert mode(private_path) == 0o600
    assert mode(public_path) == 0o644
    assert sorted(path.name for path in private_path.parent.iterdir()) == ["private", "public"]
    assert public_path.read_bytes() == key.public_json
    assert signature.load(str(public_path)).n.bit_length() == 2048
    assert keys.load(private_path).sign(b"x") == key.sign(b"x")
    serialization.load_pem_private_key(private_path.read_bytes(), None).public_key().verify(
        key.sign(b"x"), b"x", padding.PKCS1v15(), hashes.SHA256()
    )


def test_create_keeps_the_private_key(tmp_path):
    private_path, public_path = tmp_path / "private", tmp_path / "public"
    first = keys.create(private_path, public_path)
    text = private_path.read_bytes()
    public_path.unlink()
    assert keys.create(private_path, public_path).public_json == first.public_json
    assert public_path.read_bytes() == first.public_json
    public_path.write_bytes(b"another's")
    keys.create(private_path, public_path)
    assert public_path.read_bytes() == first.public_json
    assert private_path.read_bytes() == text


def test_create_does_not_replace_what_it_cannot_read(tmp_path):
    path = write(tmp_path / "private", "precious")
    with pytest.raises(errors.ProjectError, match="not a private key"):
        keys.create(path, tmp_path / "public")
    assert path.read_text() == "precious"


def test_create_where_there_is_no_directory(tmp_path):
    with pytest.raises(errors.ProjectError, match="No such file"):
        keys.create(tmp_path / "no" / "private", tmp_path / "no" / "public")


def bad_pems():
    small = rsa.generate_private_key(65537, 1024)
    yield "empty", b"", "not a private key"
    yield "text", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not a private key"
    yield (
        "public",
        small.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
        "not a private key",
    )
    yield "password", pem(small, serialization.BestAvailableEncryption(b"secret")), "without a password"
    yield "small", pem(small), "at least 2048 bits"
    yield "elliptic", pem(ec.generate_private_key(ec.SECP256R1())), "not an RSA key"


@pytest.mark.parametrize(("content", "message"), [pytest.param(*rest, id=name) for name, *rest in bad_pems()])
def test_load_refuses(tmp_path, content, message):
    path = tmp_path / "private"
    path.write_bytes(content)
    with pytest.raises(errors.ProjectError, match=message) as caught:
        keys.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_load_missing(tmp_path):
    with pytest.raises(errors.ProjectError, match="there is no such key: set the project up"):
        keys.load(tmp_path / "private")


def test_load_directory(tmp_path):
    with pytest.raises(errors.ProjectError, match="directory"):
        keys.load(tmp_path)


# BOINC's code signing


def test_code_signature_is_that_of_boinc(tmp_path, private, public):
    path = tmp_path / "hello"
    path.write_bytes(HELLO)
    assert keys.sign_file_md5(path, private) == HELLO_SIGNATURE
    assert keys.sign_file_md5(HELLO_MD5, private) == HELLO_SIGNATURE
    assert keys.verify_file_md5(path, HELLO_SIGNATURE, public)
    assert keys.verify_file_md5(HELLO_MD5, HELLO_SIGNATURE, public)


def test_code_signature_as_xml_has_it(public):
    # The scheduler's reply indents the element; the client strips what is around the digits.
    assert keys.verify_file_md5(HELLO_MD5, f"\n{HELLO_SIGNATURE}    ", public)
    assert keys.verify_file_md5(HELLO_MD5, HELLO_SIGNATURE.replace("\n", "\r\n").upper(), public)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        HELLO_SIGNATURE.replace(".", ""),
        HELLO_SIGNATURE[1:],
        HELLO_SIGNATURE[2:],
        "00" + HELLO_SIGNATURE,
        HELLO_SIGNATURE.replace("0685", "0684"),
        HELLO_SIGNATURE.replace("0685", "xx85"),
        "00" * 128 + ".",
        "ff" * 128 + ".",
    ],
)
def test_bad_code_signatures(public, text):
    assert not keys.verify_file_md5(HELLO_MD5, text, public)


def test_code_signature_plus_modulus_is_refused(public):
    number = int("".join(HELLO_SIGNATURE.split())[:-1], 16) + public.modulus
    text = number.to_bytes(129, "big").hex() + "."
    assert not keys.verify_file_md5(HELLO_MD5, text, public)


def test_signature_of_another_file(private, public):
    other = hashlib.md5(b"other").hexdigest()
    assert not keys.verify_file_md5(other, HELLO_SIGNATURE, public)
    assert keys.verify_file_md5(other, keys.sign_file_md5(other, private), public)


@pytest.mark.parametrize("md5", ["", "b1946ac9", HELLO_MD5.upper(), HELLO_MD5 + "\n", "path/to/file"])
def test_not_an_md5(private, md5):
    with pytest.raises(ValueError, match="not an MD5"):
        keys.sign_file_md5(md5, private)


def test_signing_a_missing_file(tmp_path, private):
    with pytest.raises(errors.ProjectError, match="No such file"):
        keys.sign_file_md5(tmp_path / "missing", private)


def test_code_sign_keys_in_the_form_of_boinc(tmp_path):
    directory = tmp_path / "a" / "keys"
    keys.create_code_sign_keys(directory)
    names = {"code_sign_private", "code_sign_public", "upload_private", "upload_public"}
    assert {path.name for path in directory.iterdir()} == names
    for name in ("code_sign", "upload"):
        private_path, public_path = directory / f"{name}_private", directory / f"{name}_public"
        for path, like in ((private_path, CODE_SIGN_PRIVATE), (public_path, CODE_SIGN_PUBLIC)):
            lines = path.read_text().split("\n")
            assert [len(line) for line in lines] == [len(line) for line in like.split("\n")]
            assert lines[0] == "1024"
            assert lines[5:9] == CODE_SIGN_PUBLIC.split("\n")[5:9]
        assert mode(private_path) == 0o600
        private = keys.load_code_sign_private(private_path)
        public = keys.load_code_sign_public(public_path)
        assert public.modulus == private.modulus
        assert public.modulus.bit_length() == 1024
        assert keys.verify_file_md5(HELLO_MD5, keys.sign_file_md5(HELLO_MD5, private), public)


def test_numbers_in_a_private_key_file(tmp_path):
    keys.create_code_sign_keys(tmp_path)
    data = bytes.fromhex("".join((tmp_path / "code_sign_private").read_text().split("\n")[1:-2]))
    n, e, d, p, q, dp, dq, qinv = (
        int.from_bytes(data[start:end], "big")
        for start, end in zip(
            (0, 128, 256, 384, 448, 512, 576, 640), (128, 256, 384, 448, 512, 576, 640, 704), strict=True
        )
    )
    assert p * q == n
    assert (dp, dq) == (d % (p - 1), d % (q - 1))
    assert e * dp % (p - 1) == 1
    assert e * dq % (q - 1) == 1
    assert qinv * q % p == 1


def test_existing_code_sign_keys_are_kept(tmp_path):
    write(tmp_path / "code_sign_private", CODE_SIGN_PRIVATE)
    write(tmp_path / "upload_public", "another's")
    keys.create_code_sign_keys(tmp_path)
    assert (tmp_path / "code_sign_private").read_text() == CODE_SIGN_PRIVATE
    assert (tmp_path / "code_sign_public").read_text() == CODE_SIGN_PUBLIC
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    keys.create_code_sign_keys(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1024\n",
        CODE_SIGN_PRIVATE,
        CODE_SIGN_PUBLIC.replace("1024\n", "512\n"),
        CODE_SIGN_PUBLIC.replace("aea0", "00a0"),
        CODE_SIGN_PUBLIC.replace("aea0", "a\xe9a0"),
        CODE_SIGN_PUBLIC.replace("10001\n.", ".\n"),
    ],
)
def test_bad_code_sign_keys(tmp_path, text):
    with pytest.raises(errors.ProjectError, match="not a key of 1024 bits in BOINC's form"):
        keys.load_code_sign_public(write(tmp_path / "key", text))


def test_a_public_key_does_not_sign(tmp_path):
    with pytest.raises(errors.ProjectError, match="not a key"):
        keys.load_code_sign_private(write(tmp_path / "key", CODE_SIGN_PUBLIC))


def test_missing_code_sign_key(tmp_path):
    with pytest.raises(errors.ProjectError, match="there is no such key"):
        keys.load_code_sign_private(tmp_path / "key")


def test_private_numbers_are_not_shown(private):
    assert str(private.exponent) not in repr(private)
