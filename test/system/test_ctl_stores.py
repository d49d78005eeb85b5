"""wahookctl on both kinds of store: the same verbs, the same answers; and from one to the other."""

import contextlib
import datetime
import json
import os
import pty
import re
import subprocess
import types

import pytest

from conftest import BUILD, PATIENCE, business, ctl, wait_for
from mongo import mongo, mongo_server, object_id

KEY, OLD_KEY = "the new passphrase", "the old passphrase"
NEW = {"type": "http", "url": "http://new/"}
SECRET, OLD_SECRET = "new-encryption-secret-0123456789", "test-encryption-secret-0123456789"


def place_of(directory, store, **more):
    return types.SimpleNamespace(directory=directory, store=store, variables={
        "WAHOOK_SERVER_STATE_DIR": str(directory / "state"), "WAHOOK_SERVER_BIND": "127.0.0.1:9", "WAHOOK_CRYPTO_ENCRYPTION_KEY": KEY,
        "WAHOOK_DIRECTORY_STORE": store, **more})


@pytest.fixture(params=["sqlite", "mongodb"])
def place(request, directory):
    if request.param == "sqlite":
        return place_of(directory, f"sqlite:{directory}/businesses.db")
    return place_of(directory, request.getfixturevalue("mongo").uri)


@pytest.fixture
def two(directory, mongo):
    """SQLite as the configured store, and the URI of a MongoDB."""
    place = place_of(directory, f"sqlite:{directory}/businesses.db")
    place.mongo = mongo
    return place


def answer(place, *args, **kwargs):
    return json.loads(ctl(place, "-o", "json", *args, **kwargs).stdout)


def fill(place, documents):
    ctl(place, "import", "-", stdin="".join(json.dumps(d) + "\n" for d in documents))


def exported(place, *args):
    return [json.loads(line) for line in ctl(place, *args, "export").stdout.splitlines()]


def counts(document):
    assert document.pop("seconds") >= 0
    return document


# ---------------------------------------------------------------- businesses


def test_a_business_from_its_first_day_to_its_last(place):
    assert ctl(place, "business", "list").stdout.startswith("no businesses")
    done = ctl(place, "business", "add", "demo", "--name", "Demo shop", "--phone", "111", "--phone", "222", "--sub-domain", "shop",
               "--waba-id", "w1", "--responder-type", "echo", "--token", "-", stdin="EAAsecret-token-123\n")
    assert done.stdout == "demo: added\n"
    for name in ("demo", "shop", "222"):
        shown = answer(place, "business", "show", name)
        assert shown["_id"] == "demo" and shown["whatsappPhoneNumberIds"] == ["111", "222"] and shown["whatsappEnabled"] is True
        assert shown["whatsappAccessToken"] == "*** (sealed)" and shown["responder"] == {"type": "echo"}
    assert ctl(place, "business", "add", "demo", check=False).returncode == 65
    assert "111 belongs to the business demo" in ctl(place, "business", "add", "other", "--phone", "111").stderr
    assert [b["id"] for b in answer(place, "business", "list")] == ["demo", "other"]
    assert ctl(place, "business", "disable", "shop").stdout == "demo: disabled\n"
    assert answer(place, "business", "list")[0]["active"] is False
    ctl(place, "business", "enable", "demo")
    assert answer(place, "business", "list")[0]["active"] is True
    before = exported(place)
    ctl(place, "business", "set-token", "demo", stdin="EAAanother\n")
    assert exported(place) != before
    ctl(place, "business", "remove", "demo")
    assert ctl(place, "business", "show", "demo", check=False).returncode == 1


def test_import_and_export_are_each_others_inverse(place):
    full = business(0, whatsappRefreshToken="sealed:v1:xyz", whatsappTokenExpiresAt="2026-03-01T00:00:00.123Z", verifyToken="v",
                    responder={"type": "http", "url": "http://x/", "key": "k", "model": "m", "systemPrompt": "Be kind."})
    fill(place, [full, *(business(n) for n in range(1, 2100))])
    first = exported(place)
    assert len(first) == 2100
    assert first[0] == {**full, "createdAt": "2024-01-01T00:00:00.000Z"}
    fill(place, first)
    assert exported(place) == first


def test_what_others_keep_in_a_document_stays(mongo, directory):
    place = place_of(directory, mongo.uri)
    document = {"_id": object_id("65f0c0ffee65f0c0ffee0001"), "name": "Shared", "subDomain": "shared", "whatsappPhoneNumberIds": ["1"],
                "whatsappAccessToken": "EAAold", "whatsappRefreshToken": "EAArefresh", "whatsappEnabled": True, "isActive": True,
                "createdAt": datetime.datetime(2024, 1, 1), "plan": {"name": "gold", "since": datetime.datetime(2023, 5, 5)},
                "tags": [1, "two", None], "__v": 7}
    mongo.businesses.insert_one(document)
    ctl(place, "business", "disable", "shared")
    ctl(place, "business", "set-token", "65f0c0ffee65f0c0ffee0001", stdin="EAAnew")
    ctl(place, "business", "enable", "1")
    ctl(place, "token", "rekey", "--plain")
    now, = mongo.businesses.find()
    assert now.pop("updatedAt") and now.pop("whatsappAccessToken").startswith("sealed:")
    assert now.pop("whatsappRefreshToken").startswith("sealed:")
    assert now == {k: v for k, v in document.items() if k in now} and {"plan", "tags", "__v", "_id"} <= set(now)


@pytest.mark.parametrize("theirs,ours", [
    ({"type": "http", "url": "http://old/", "model": "m", "theirs": {"x": [1]}}, {**NEW, "theirs": {"x": [1]}}),
    ({"theirs": 1}, {**NEW, "theirs": 1}), *((odd, NEW) for odd in (None, "none", [], [{"type": "echo"}], 5))])
@pytest.mark.parametrize("count", [1, 3])
def test_what_others_keep_in_a_responder_stays(mongo, directory, theirs, ours, count):
    place = place_of(directory, mongo.uri)
    mongo.businesses.insert_many([business(0, responder=theirs), business(1)])
    fill(place, [business(n, responder=NEW) for n in range(count)])
    assert {d["_id"]: d.get("responder", NEW) for d in mongo.businesses.find()} == {"b0": ours, **{f"b{n}": NEW for n in range(1, max(2, count))}}
    fill(place, [business(0)])
    assert mongo.businesses.find_one({"_id": "b0"})["responder"] == {k: v for k, v in ours.items() if k == "theirs"}


def test_one_bad_document_keeps_no_other_out(two):
    """A unique index of the collection's owner refuses one of a batch."""
    two.variables["WAHOOK_DIRECTORY_STORE"] = two.mongo.uri
    two.mongo.businesses.create_index("subDomain", unique=True)
    two.mongo.businesses.insert_one({"_id": "theirs", "subDomain": "shop2"})
    lines = "".join(json.dumps(business(n)) + "\n" for n in range(5))
    done = ctl(two, "import", "-", stdin=lines, check=False)
    assert done.returncode == 65 and "4 imported, 1 refused" in done.stdout and "stdin:3:" in done.stderr, done
    assert {d["_id"] for d in two.mongo.businesses.find()} == {"theirs", "b0", "b1", "b3", "b4"}
    # A document whose id can be none of ours ends no listing.
    two.mongo.businesses.insert_one({"_id": {"a": 1}, "subDomain": "odd"})
    assert len(answer(two, "business", "list")) == 5


def test_ids_of_every_type_are_listed(mongo, directory):
    """Whatever type of _id a page ends with, the next one goes on right behind it; also behind many that cannot be read."""
    place = place_of(directory, mongo.uri)
    ids = [*range(1300), *(f"t{n}" for n in range(900)), 0.5, "7", *(object_id(f"65f0c0ffee65f0c0ffee{n:04x}") for n in range(1100))]
    mongo.businesses.insert_many([{"_id": i} for i in [*ids, *({"n": n} for n in range(1200)), datetime.datetime(2024, 1, 1), True]])
    assert sorted(d["_id"] for d in exported(place)) == sorted(map(str, ids))


@pytest.mark.parametrize("number", [8, -3, 7.5, 0.1, 2 ** 40])
def test_a_business_with_a_number_as_its_id(mongo, directory, number):
    """It is found, changed and removed as itself; a text that only means the same number is another one."""
    place = place_of(directory, mongo.uri)
    mongo.businesses.insert_one({"_id": number, "name": "x", "isActive": True, "whatsappEnabled": True})
    id_text, = (d["_id"] for d in exported(place))
    ctl(place, "business", "disable", "--", id_text)
    assert ctl(place, "business", "remove", "--", f"0{id_text}", check=False).returncode == 1
    changed, = mongo.businesses.find()
    assert changed["_id"] == number and changed["updatedAt"] and not (changed["isActive"] and changed["whatsappEnabled"])
    ctl(place, "business", "remove", "--", id_text)
    assert mongo.businesses.count_documents({}) == 0


# ---------------------------------------------------------------- migrate


def test_there_and_back_again(two):
    documents = [business(n, whatsappRefreshToken=f"sealed:{n}", verifyToken="v") for n in range(1500)]
    documents[7]["_id"] = "65f0c0ffee65f0c0ffee0007"
    fill(two, documents)
    there = ["migrate", "--to", two.mongo.uri]
    assert counts(answer(two, *there, "--dry-run")) == {"new": 1500, "changed": 0, "same": 0, "failed": 0, "only_in_the_target": 0,
                                                        "dry_run": True}
    assert two.mongo.businesses.count_documents({}) == 0
    assert counts(answer(two, *there)) == {"new": 1500, "changed": 0, "same": 0, "failed": 0, "only_in_the_target": 0}
    assert two.mongo.businesses.count_documents({"_id": object_id("65f0c0ffee65f0c0ffee0007")}) == 1
    assert counts(answer(two, *there)) == {"new": 0, "changed": 0, "same": 1500, "failed": 0, "only_in_the_target": 0}
    # Whatever happens there: one removed, one changed, one of theirs.
    two.mongo.businesses.delete_one({"_id": "b5"})
    two.mongo.businesses.update_one({"_id": "b6"}, {"$set": {"name": "Other", "plan": "gold"}})
    two.mongo.businesses.insert_one({"_id": "theirs"})
    done = ctl(two, *there, "--dry-run")
    assert done.stdout.startswith("dry run: 1 new, 1 changed, 1498 same, 0 failed, 1 only in the target, in ")
    assert two.mongo.businesses.find_one({"_id": "b6"})["name"] == "Other"
    assert counts(answer(two, *there)) == {"new": 1, "changed": 1, "same": 1498, "failed": 0, "only_in_the_target": 1}
    assert two.mongo.businesses.find_one({"_id": "b6"})["name"] == "Business 6"
    assert two.mongo.businesses.find_one({"_id": "b6"})["plan"] == "gold"
    two.mongo.businesses.delete_one({"_id": "theirs"})
    back = f"sqlite:{two.directory}/back.db"
    assert counts(answer(two, "migrate", "--from", two.mongo.uri, "--to", back))["new"] == 1500
    assert exported(two, f"--directory-store={back}") == exported(two)


def test_a_migration_goes_on_where_it_was_interrupted(two):
    fill(two, [business(n) for n in range(3000)])
    two.mongo.businesses.insert_many([{**d, "createdAt": datetime.datetime(2024, 1, 1)} for d in (business(n) for n in range(1200))])
    assert counts(answer(two, "migrate", "--to", two.mongo.uri))["new"] == 1800
    assert two.mongo.businesses.count_documents({}) == 3000


def test_what_the_target_refuses_is_named(two):
    fill(two, [business(n) for n in range(20)])
    two.mongo.businesses.create_index("subDomain", unique=True)
    two.mongo.businesses.insert_one({"_id": "theirs", "subDomain": "shop3"})
    done = ctl(two, "migrate", "--to", two.mongo.uri, check=False)
    assert done.returncode == 65 and "b3: MongoDB: " in done.stderr and "E11000" in done.stderr
    assert done.stdout.startswith("19 new, 0 changed, 0 same, 1 failed, 1 only in the target, in ")
    assert two.mongo.businesses.count_documents({}) == 20


def test_what_cannot_be_read_is_a_failure(two):
    two.mongo.businesses.insert_many([{"_id": {"odd": 1}}, {"_id": "b1", "name": "One"}])
    done = ctl(two, "migrate", "--from", two.mongo.uri, "--to", f"sqlite:{two.directory}/copy.db", check=False)
    assert done.returncode == 65 and "1 new" in done.stdout and "1 failed" in done.stdout
    assert "counts 2 businesses, of which 1 can be read" in done.stderr
    # Which one, where it is, and what to do.
    assert re.search(r'the document {.*"_id".*{.*"odd".* 1.*} of businesses is passed over: .*insert it anew under', done.stderr), done.stderr


def test_stores_that_are_not_there(two):
    fill(two, [business(1)])
    missing = two.directory / "missing.db"
    done = ctl(two, "migrate", "--from", f"sqlite:{missing}", "--to", two.store, check=False)
    assert done.returncode == 69 and "No such file" in done.stderr and not missing.exists()
    assert counts(answer(two, "migrate", "--to", f"sqlite:{missing}", "--dry-run"))["new"] == 1
    assert not missing.exists()
    assert ctl(two, "migrate", check=False).returncode == 64
    same = ctl(two, "migrate", "--to", two.store, check=False)
    assert same.returncode == 78 and "same store" in same.stderr


@pytest.mark.parametrize("uri", ["mongodb://u:s3cr3t-pw@127.0.0.1:9/x?serverSelectionTimeoutMS=200", "mongodb://u:s3cr3t-pw@:x/",
                                 "mongodb://u:s3cr3t-pw@127.0.0.1:9/?a=b", "postgres://u:s3cr3t-pw@h/x", "u:s3cr3t-pw@h/x"])
def test_a_password_is_never_printed(two, uri):
    fill(two, [business(1)])
    two.variables["TARGET"] = uri
    for to in (uri, "env:TARGET"):
        for args in (["--to", to], ["--from", to, "--to", two.mongo.uri]):
            done = ctl(two, "migrate", *args, check=False)
            assert done.returncode in (69, 78) and done.stderr, done
            assert "s3cr3t" not in done.stderr + done.stdout
    done = ctl(two, f"--directory-store={uri}", "business", "list", check=False)
    assert done.returncode in (69, 78) and "s3cr3t" not in done.stderr + done.stdout


def test_a_uri_may_be_kept_in_a_file(two):
    fill(two, [business(1)])
    (two.directory / "uri").write_text(two.mongo.uri + "\n")
    assert counts(answer(two, "migrate", "--to", f"file:{two.directory}/uri"))["new"] == 1


# ---------------------------------------------------------------- token rekey


def sealed(place, token, form, **keys):
    env = types.SimpleNamespace(variables={**place.variables, **keys})
    return ctl(env, "token", "seal", "--format", form, stdin=token).stdout.strip()


@pytest.fixture
def rekeying(place):
    """Tokens of every kind under the old keys, and one that no key opens."""
    old = {"WAHOOK_CRYPTO_ENCRYPTION_KEY": OLD_KEY, "WAHOOK_CRYPTO_ENCRYPTION_SECRET": OLD_SECRET}
    fill(place, [
        business(1, whatsappAccessToken=sealed(place, "EAAone", "sealed", **old), whatsappRefreshToken=sealed(place, "EAAone-r", "gcm", **old)),
        business(2, whatsappAccessToken=sealed(place, "EAAtwo", "gcm", **old)),
        business(3, whatsappAccessToken=sealed(place, "EAAthree", "fernet", **old)),
        business(4, whatsappAccessToken=sealed(place, "EAAfour", "sealed", WAHOOK_CRYPTO_ENCRYPTION_KEY="lost")),
        business(5, whatsappAccessToken="EAAfive-plain"),
        business(6, whatsappAccessToken=""),
        business(7, whatsappAccessToken=sealed(place, "EAAseven", "sealed")),
    ])
    place.variables["WAHOOK_CRYPTO_ENCRYPTION_KEY"] = f"{KEY},{OLD_KEY}"
    place.variables["WAHOOK_CRYPTO_ENCRYPTION_SECRET"] = f"{SECRET},{OLD_SECRET}"
    return place


def opened(place):
    """What the stored tokens are with the new keys alone: {id: (format, token)}."""
    new = types.SimpleNamespace(variables={**place.variables, "WAHOOK_CRYPTO_ENCRYPTION_KEY": KEY, "WAHOOK_CRYPTO_ENCRYPTION_SECRET": SECRET})
    found = {}
    for document in exported(place):
        for name in ("whatsappAccessToken", "whatsappRefreshToken"):
            stored = document.get(name)
            if stored:
                token = ctl(new, "token", "open", "--yes-show-secret", stdin=stored, check=False).stdout.strip()
                found[document["_id"] + name[8:9]] = (ctl(new, "token", "detect", stdin=stored).stdout.strip(), token)
    return found


def without_tokens(place):
    return [{k: v for k, v in d.items() if "Token" not in k} for d in exported(place)]


def test_tokens_under_a_new_key(rekeying):
    before, others = exported(rekeying), without_tokens(rekeying)
    dry = ctl(rekeying, "--json", "token", "rekey", "--dry-run", check=False)
    assert dry.returncode == 65
    assert counts(json.loads(dry.stdout)) == {"rekeyed": 4, "current": 1, "plain": 1, "failed": 1, "dry_run": True}
    assert exported(rekeying) == before
    done = ctl(rekeying, "token", "rekey", check=False)
    assert done.returncode == 65 and done.stdout.startswith("4 rekeyed, 1 current, 1 plain, 1 failed, in ")
    assert "b4: access token: the token was sealed with a key that is not configured" in done.stderr
    for secret in ("EAA", before[3]["whatsappAccessToken"]):
        assert secret not in done.stdout + done.stderr
    assert opened(rekeying) == {"b1A": ("sealed", "EAAone"), "b1R": ("gcm", "EAAone-r"), "b2A": ("gcm", "EAAtwo"),
                                "b3A": ("fernet", "EAAthree"), "b4A": ("sealed", ""), "b5A": ("plain", ""), "b7A": ("sealed", "EAAseven")}
    assert without_tokens(rekeying) == others and exported(rekeying)[3] == before[3] and exported(rekeying)[6] == before[6]
    # Again: nothing is left to do, and nothing is written.
    before = exported(rekeying)
    assert ctl(rekeying, "token", "rekey", check=False).stdout.startswith("0 rekeyed, 5 current, 1 plain, 1 failed, in ")
    assert exported(rekeying) == before
    # All into one format, also the plain one.
    ctl(rekeying, "business", "remove", "b4")
    done = ctl(rekeying, "token", "rekey", "--plain", "--format", "sealed")
    assert done.stdout.startswith("4 rekeyed, 2 current, 0 plain, 0 failed, in ")
    assert opened(rekeying)["b5A"] == ("sealed", "EAAfive-plain") and {f for f, _ in opened(rekeying).values()} == {"sealed"}


def test_no_key_to_write_with(place):
    fill(place, [business(1)])
    place.variables.pop("WAHOOK_CRYPTO_ENCRYPTION_KEY")
    done = ctl(place, "token", "rekey", check=False)
    assert done.returncode == 77 and "no key is set" in done.stderr
    assert ctl(place, "token", "rekey", "--format", "plain", check=False).returncode == 64


# ---------------------------------------------------------------- indexes


def test_indexes(mongo, directory):
    place = place_of(directory, mongo.uri)
    fill(place, [business(1)])
    missing = {"webhook_lookup_idx": "missing", "subdomain_lookup_idx": "missing", "active_businesses_idx": "missing", "_id_": "not ours"}
    states = lambda verb: {row["name"]: row["state"] for row in answer(place, "indexes", verb)}
    assert states("show") == missing
    assert states("ensure") == {**dict.fromkeys(missing, "made"), "_id_": "not ours"}
    assert states("show") == {**dict.fromkeys(missing, "there"), "_id_": "not ours"}
    assert "whatsappPhoneNumberIds: 1, whatsappEnabled: 1, isActive: 1" in ctl(place, "indexes", "show").stdout
    assert "webhook_lookup_idx" in mongo.businesses.index_information()
    # Another one has the name: it stays, and that is told.
    mongo.businesses.drop_index("webhook_lookup_idx")
    mongo.businesses.drop_index("subdomain_lookup_idx")
    mongo.businesses.create_index("name", name="webhook_lookup_idx")
    done = ctl(place, "indexes", "ensure", check=False)
    assert done.returncode == 65 and "webhook_lookup_idx" in done.stderr and "in conflict" in done.stdout
    assert "subdomain_lookup_idx" in mongo.businesses.index_information()


def test_indexes_of_sqlite(directory):
    place = place_of(directory, f"sqlite:{directory}/businesses.db")
    for verb in ("show", "ensure"):
        assert "there is nothing to do" in ctl(place, "indexes", verb).stdout
        assert answer(place, "indexes", verb) == []


# ---------------------------------------------------------------- interrupted, and in the way of others


def begin(place, *args):
    env = {"PATH": os.environ["PATH"], **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}, **place.variables}
    return subprocess.Popen([str(BUILD / "wahookctl"), *args], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def renewed(place, count):
    """So many businesses with tokens under the old key, the new one before it."""
    stored = sealed(place, "EAAmany", "sealed", WAHOOK_CRYPTO_ENCRYPTION_KEY=OLD_KEY)
    fill(place, [business(n, whatsappAccessToken=stored) for n in range(count)])
    place.variables["WAHOOK_CRYPTO_ENCRYPTION_KEY"] = f"{KEY},{OLD_KEY}"
    return stored


def test_rekey_goes_on_where_it_was_killed(place):
    old = renewed(place, 3000)
    process = begin(place, "token", "rekey")
    left = lambda: sum(d["whatsappAccessToken"] == old for d in exported(place))
    wait_for(lambda: left() < 3000 or process.poll() is not None, what="a first token under the new key")
    process.kill()
    process.communicate()
    before = left()
    assert counts(answer(place, "token", "rekey")) == {"rekeyed": before, "current": 3000 - before, "plain": 0, "failed": 0}
    assert left() == 0


def test_rekey_loses_no_token_that_comes_meanwhile(mongo, directory):
    place = place_of(directory, mongo.uri)
    renewed(place, 2000)
    theirs = sealed(place, "EAAtheirs", "sealed", WAHOOK_CRYPTO_ENCRYPTION_KEY=OLD_KEY)
    process = begin(place, "token", "rekey")
    others = [f"b{n}" for n in range(1999, 0, -4)]
    for name in others:
        mongo.businesses.update_one({"_id": name}, {"$set": {"whatsappAccessToken": theirs}})
    out, err = process.communicate(timeout=60 * PATIENCE)
    assert process.returncode == 0 and "2000 rekeyed" in out, (out, err)
    ctl(place, "token", "rekey")
    place.variables["WAHOOK_CRYPTO_ENCRYPTION_KEY"] = KEY
    stored = {d["_id"]: d["whatsappAccessToken"] for d in mongo.businesses.find()}
    for name in others[:3] + others[-3:]:
        assert ctl(place, "token", "open", "--yes-show-secret", stdin=stored[name]).stdout == "EAAtheirs\n"
    assert not any(s == theirs for s in stored.values())


def test_a_server_that_dies_under_a_migration(mongo_server, directory):
    place = place_of(directory, f"sqlite:{directory}/businesses.db")
    fill(place, [business(n) for n in range(5000)])
    uri = mongo_server.uri + "copy?serverSelectionTimeoutMS=1000"
    process = begin(place, "migrate", "--to", uri)
    with mongo_server.client() as client:
        wait_for(lambda: client.copy.businesses.estimated_document_count() or process.poll() is not None, what="a first copy")
    mongo_server.kill()
    out, err = process.communicate(timeout=60 * PATIENCE)
    assert process.returncode == 69 and "migrate: MongoDB: " in err or process.returncode == 0, (out, err)
    assert ctl(place, "migrate", "--to", uri, check=False).returncode == 69
    mongo_server.start()
    again = counts(answer(place, "migrate", "--to", uri))
    assert again["new"] + again["same"] + again["changed"] == 5000 and again["failed"] == 0
    with mongo_server.client() as client:
        assert client.copy.businesses.count_documents({"name": {"$exists": True}}) == 5000


def test_progress_is_shown_on_a_terminal(two):
    fill(two, [business(n) for n in range(2500)])
    ours, theirs = pty.openpty()
    env = {"PATH": os.environ["PATH"], **two.variables}
    done = subprocess.run([str(BUILD / "wahookctl"), "migrate", "--to", two.mongo.uri], env=env, stdout=subprocess.PIPE, stderr=theirs,
                          text=True, timeout=60 * PATIENCE)
    os.close(theirs)
    shown = ""
    with contextlib.suppress(OSError):  # it ends with EIO; what was written comes in pieces
        while piece := os.read(ours, 65536):
            shown += piece.decode()
    os.close(ours)
    assert done.returncode == 0 and done.stdout.startswith("2500 new")
    assert "] " in shown and "%  1000" in shown and shown.endswith("\r\x1b[K")


def test_a_running_daemon_uses_tokens_under_the_new_key(world, mongo):
    """Rotation as an operator does it: nothing is lost, and in the end the old key is gone."""
    daemon, box = world.start(directory_store=mongo.uri, crypto_allow_plain_tokens=None, crypto_encryption_key=OLD_KEY)
    env = types.SimpleNamespace(variables=daemon.variables)
    ctl(env, "business", "add", "b1", "--phone", "10001", "--token", "-", stdin="EAAtoken-of-1")
    ctl(env, "send", "--to", "10001", "one")
    box.wait_messages(1)
    env.variables["WAHOOK_CRYPTO_ENCRYPTION_KEY"] = f"{KEY},{OLD_KEY}"
    assert "1 rekeyed" in ctl(env, "token", "rekey").stdout
    daemon.stop()
    env.variables["WAHOOK_CRYPTO_ENCRYPTION_KEY"] = KEY
    again = world.daemon(graph_port=box.port, port=world.port, directory_store=mongo.uri, crypto_allow_plain_tokens=None,
                         crypto_encryption_key=KEY)
    ctl(again, "send", "--to", "10001", "two")
    assert [m["bearer"] for m in box.wait_messages(2)] == ["EAAtoken-of-1"] * 2
