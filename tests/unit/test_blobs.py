"""The blob store on a local folder: what is fetched is what was claimed."""

from __future__ import annotations

import hashlib

import pytest

from starlings.blobs import BlobStore, Claim
from starlings.messages import ConfigError, TransientError, UndecodableMessage

VALUE = b"a large value"


@pytest.fixture
def store(tmp_path) -> BlobStore:
    return BlobStore((tmp_path / "blobs").as_uri())


async def refusal(store: BlobStore, claim: Claim) -> str:
    with pytest.raises(UndecodableMessage) as caught:
        await store.get(claim)
    return caught.value.code


async def test_a_value_comes_back_under_the_name_of_its_content(store, tmp_path):
    claim = await store.put(VALUE, "text/plain", summary="a value")
    digest = hashlib.sha256(VALUE).hexdigest()
    assert claim == Claim(
        uri=f"{store.url}/{digest[:2]}/{digest}",
        sha256=digest,
        size_bytes=len(VALUE),
        media_type="text/plain",
        summary="a value",
    )
    assert await store.get(claim) == VALUE
    assert (tmp_path / "blobs" / digest[:2] / digest).read_bytes() == VALUE


async def test_the_same_value_is_stored_once(store, tmp_path):
    assert await store.put(VALUE) == await store.put(VALUE)
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


async def test_another_process_reads_what_one_has_written(store):
    claim = await store.put(b"x" * 3_000_000)
    assert await BlobStore(store.url).get(claim) == b"x" * 3_000_000


async def test_no_folder_is_made_before_it_is_needed(tmp_path):
    BlobStore((tmp_path / "blobs").as_uri())
    assert list(tmp_path.iterdir()) == []


async def test_a_value_that_is_gone_is_told(store):
    claim = await store.put(VALUE)
    other = claim.model_copy(update={"uri": claim.uri + "0"})
    assert await refusal(store, other) == "blob_gone"


async def test_a_value_that_has_changed_is_told(store, tmp_path):
    claim = await store.put(VALUE)
    (path,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    for changed in (b"another size", VALUE.upper()):
        path.write_bytes(changed)
        assert await refusal(store, claim) == "blob_changed"


async def test_a_claim_cannot_lead_out_of_the_store(store, tmp_path):
    claim = await store.put(VALUE)
    (tmp_path / "secret").write_bytes(VALUE)
    for uri in (
        (tmp_path / "secret").as_uri(),
        f"{store.url}/../secret",
        f"{store.url}/aa/../../secret",
        store.url,
        "s3://elsewhere/secret",
    ):
        assert await refusal(store, claim.model_copy(update={"uri": uri})) == "blob_elsewhere"


async def test_a_store_that_cannot_be_reached_may_come_back(tmp_path):
    (tmp_path / "blobs").write_text("a file where a folder should be")
    store = BlobStore((tmp_path / "blobs").as_uri())
    with pytest.raises(TransientError, match="takes no blob") as caught:
        await store.put(VALUE)
    assert caught.value.code == "blob_store"


async def test_a_file_is_stored_and_fetched_as_a_file(store, tmp_path):
    given, got = tmp_path / "given", tmp_path / "got"
    given.write_bytes(VALUE)

    claim = await store.put_file(given, "text/plain", summary="some text")
    await store.get_file(claim, got)

    assert claim == await store.put(VALUE, "text/plain", summary="some text")
    assert got.read_bytes() == VALUE


async def test_a_file_that_is_not_the_one_that_was_claimed_is_not_there(store, tmp_path):
    claim = await store.put(VALUE)
    got = tmp_path / "got"
    for wrong, code in (
        ({"sha256": "0" * 64}, "blob_changed"),
        ({"size_bytes": 1}, "blob_changed"),
        ({"uri": claim.uri + "0"}, "blob_gone"),
        ({"uri": "s3://elsewhere/secret"}, "blob_elsewhere"),
    ):
        with pytest.raises(UndecodableMessage) as caught:
            await store.get_file(claim.model_copy(update=wrong), got)
        assert caught.value.code == code
        assert not got.exists()


@pytest.mark.parametrize("url", ["", "/var/blobs", "file://tmp/blobs", "ftp://x/y", "file:blobs"])
def test_an_address_that_is_none_names_the_setting(url):
    with pytest.raises(ConfigError, match="STARLINGS_BLOBS_URL"):
        BlobStore(url)
