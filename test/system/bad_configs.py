"""Configuration files with one mistake each: most are made from the table of options, by type; the rest are slips of the pen, secrets that are
not there, and values that are good alone but not together. Each row says what its error has to name."""

import os
import pathlib
import re
from typing import NamedTuple, Optional

from conftest import APP_SECRET, ROOT

ROW = re.compile(r'^OPTION\((\w+), (\w+), (\w+), "((?:[^"\\]|\\.)*)", (\d+), (\d+), .*, "([^"]*)"\)$', re.M)


class Option(NamedTuple):
    section: str
    key: str
    type: str
    default: str
    min: int
    max: int
    help: str

    @property
    def name(self):
        return f"{self.section}.{self.key}"


class Bad(NamedTuple):
    name: str
    text: bytes
    line: Optional[int]    # of the mistake; None: it is about something that is missing
    option: Optional[str]  # None: the line has no option
    says: str


def options():
    text = (ROOT / "include/wahook/options.def").read_text()
    for section, key, kind, default, least, most, words in ROW.findall(text):
        yield Option(section, key, kind, default, int(least), int(most), words)


class Good:
    """The lines of a file that is right, to be spoilt."""

    def __init__(self, port, state):
        self.values = {
            "server": {"bind": f'["127.0.0.1:{port}"]', "workers": "2", "state_dir": f'"{state}"'},
            "webhook": {"app_secrets": f'["{APP_SECRET}"]', "verify_token": '"v"'},
            "limits": {"health": "off", "metrics": "off"},
        }

    def lines(self, changes=()):
        """With changes {"section.key": value or None}; also the number of each option's line."""
        values = {section: dict(keys) for section, keys in self.values.items()}
        for name, value in dict(changes).items():
            section, key = name.split(".")
            values.setdefault(section, {})[key] = value
        lines, numbers = [], {}
        for section, keys in values.items():
            lines.append(f"[{section}]")
            for key, value in keys.items():
                if value is not None:
                    numbers[f"{section}.{key}"] = len(lines) + 1
                    lines += f"{key} = {value}".split("\n")
        return lines, numbers

    def text(self, changes=()):
        return "\n".join(self.lines(changes)[0]).encode() + b"\n"

    def spoilt(self, name, changes, option, says, at=None):
        """`at`: the option whose line has to be named, when it is another one; "" when no line can be."""
        lines, numbers = self.lines(changes)
        line = None if at == "" else numbers[at or option]
        return Bad(name, "\n".join(lines).encode() + b"\n", line, option, says)

    def followed(self, name, raw, says, line=1, option=None):
        """With raw bytes at the end; `line` counts from there."""
        text = self.text()
        raw = raw if isinstance(raw, bytes) else raw.encode()
        return Bad(name, text + raw, text.count(b"\n") + line, option, says)


# ---------------------------------------------------------------- by type: (what, value, what the message says)

NO_NUMBER, NO_DURATION, NO_SIZE, NO_RATE = "is not a number", "is not a duration", "is not a size", "is not a rate"
RANGE = "is outside the allowed range (write "
OVERFLOW = "99999999999999999999"


def of_number(o):
    yield "a word", "many", NO_NUMBER
    yield "a fraction", "1.5", NO_NUMBER
    yield "a unit", '"4 cores"', NO_NUMBER
    yield "nothing", '""', NO_NUMBER
    yield "too low", str(o.min - 1), RANGE
    yield "too high", str(o.max + 1), RANGE
    yield "overflow", OVERFLOW, RANGE


def of_duration(o):
    yield "a word", "soon", NO_DURATION
    yield "a strange unit", '"2 fortnights"', NO_DURATION
    yield "nothing", '""', NO_DURATION
    yield "negative", "-1s", NO_DURATION
    yield "too high", f"{o.max + 1}ms", RANGE
    yield "overflow", f"{OVERFLOW}s", RANGE
    yield "overflow of the unit", "9000000000000000w", RANGE
    if o.min:
        yield "too low", f"{o.min - 1}ms", RANGE


def of_size(o):
    yield "a word", "big", NO_SIZE
    yield "a strange unit", '"3 apples"', NO_SIZE
    yield "nothing", '""', NO_SIZE
    yield "negative", "-1", NO_SIZE
    yield "too high", str(o.max + 1), RANGE
    yield "overflow", OVERFLOW, RANGE
    yield "overflow of the unit", "9000000000000000g", RANGE
    if o.min:
        yield "too low", str(o.min - 1), RANGE


def of_rate(o):
    yield "a word", "often", NO_RATE
    yield "no period", '"100"', NO_RATE
    yield "a strange period", "100/fortnight", NO_RATE
    yield "none at all", "0/minute", RANGE
    yield "a period too long", '"5/400 days"', RANGE
    yield "overflow", f"{OVERFLOW}/s", RANGE


def of_bool(o):
    yield "neither", "maybe", "is neither yes nor no (write yes or no)"
    yield "a number", "2", "is neither yes nor no"
    yield "nothing", '""', "is neither yes nor no"


def of_choice(o):
    first = o.help.split(":")[0].split("|")[0]
    yield "another word", '"quux"', f"is not one of {o.help.split(':')[0]} (write one of them)"
    yield "a slip", f'"{first[:-1]}"', f'(did you mean "{first}"?)'
    yield "nothing", '""', "is not one of"


def of_text(o):
    yield "no quotes", "text", f'a text needs quotes (write {o.key} = "...")'
    yield "a control character", r'"/a\u0007b"', "contains a control character at byte 3 (remove it)"


def of_list(o):
    yield "no quotes", "text", f'a text needs quotes (write {o.key} = "...")'
    yield "an empty item", '[""]', "an item of the list is empty (remove it)"
    yield "a control character", r'["a\tb"]', "contains a control character at byte 2"


def of_secret(o, around=("", "")):
    quoted = lambda text: around[0] + f'"{text}"' + around[1]
    yield "no quotes", "secret", f'a text needs quotes (write {o.key} = "...")'
    yield "a file that is not there", quoted("file:/nonexistent/secret"), "cannot read /nonexistent/secret: No such file or directory (the file"
    yield "a variable that is not set", quoted("env:NO_SUCH_VARIABLE"), "the environment variable NO_SUCH_VARIABLE is not set (set it"
    yield "blanks", quoted("  "), "consists of blanks only"


def of_secrets(o):
    yield from of_secret(o, ("[", "]"))
    yield "an empty item", '[""]', "an item of the list is empty"


BY_TYPE = {"INT": of_number, "DURATION": of_duration, "SIZE": of_size, "RATE": of_rate, "BOOL": of_bool, "ENUM": of_choice, "TEXT": of_text,
           "LIST": of_list, "SECRET": of_secret, "SECRETS": of_secrets}


def from_options(good):
    known = {(o.section, o.key) for o in options()}
    for o in options():
        for what, value, says in BY_TYPE[o.type](o):
            yield good.spoilt(f"{o.name}: {what}", {o.name: value}, o.name, says)
        if o.type not in ("LIST", "SECRETS"):
            yield good.spoilt(f"{o.name}: a list", {o.name: '["1", "2"]'}, o.name, "takes one value, not a list (remove the brackets)")
        first = f"[{o.section}]\n{o.key} = {valid(o)}\n"
        base, numbers = good.lines({o.name: None})
        yield Bad(f"{o.name}: twice", "\n".join(base + [first, first]).encode(), len(base) + 5, o.name,
                  f":{len(base) + 2}; remove one)")
        slip = o.key[:-1] if (o.section, o.key[:-1]) not in known else o.key[1:]
        yield good.followed(f"{o.name}: a slip in the key", f"[{o.section}]\n{slip} = 1\n",
                            f"unknown option {o.section}.{slip} (did you mean {o.key}?)", 2)


def valid(o):
    """The default as it stands in a file, or something else that is good."""
    text = {"server.state_dir": "/tmp", "webhook.app_secrets": APP_SECRET}.get(o.name, o.default)
    return f'["{text}"]' if o.type in ("LIST", "SECRETS") and text else "[]" if o.type in ("LIST", "SECRETS") else f'"{text}"'


# ---------------------------------------------------------------- slips of the pen: (what, raw text behind a good file, line in it, message)

SECTION, ENTRY, WORD = "this is no section (write [name] on a line of its own)", "neither a section nor an option (write", "'=' is missing (write"

SYNTAX = [
    ("a section that is not closed", "[log\nlevel = info\n", 1, SECTION),
    ("a section without a name", "[]\n", 1, SECTION),
    ("a section in a section", "[log.access]\n", 1, SECTION),
    ("two brackets", "[[log]]\nlevel = info\n", 1, SECTION),
    ("text behind a section", "[log] level = info\n", 1, "unexpected text after a section (write [name]"),
    ("a section with a slip", "\n[responderr]\ntype = echo\n", 2, "unknown section [responderr] (did you mean [responder]?)"),
    ("a section in capitals", "[Log]\n", 1, "(did you mean [log]?)"),
    ("no such section", "[quux]\na = 1\nb = 2\n", 1, "unknown section [quux] (wahookd.conf(5) lists all sections)"),
    ("a key of another section", "[log]\nmax_body = 1\n", 2, "unknown option log.max_body (did you mean webhook.max_body?)"),
    ("no such key", "[log]\nzzzzzzzz = 1\n", 2, "unknown option log.zzzzzzzz (wahookd.conf(5) lists all options)"),
    ("dashes in a key", "[server]\nmax-requests = 1\n", 2, "(did you mean max_requests?)"),
    ("a key in capitals", "[log]\nLevel = info\n", 2, "(did you mean level?)"),
    ("an endless key", "[log]\n" + "k" * 100000 + " = 1\n", 2, "... (wahookd.conf(5) lists all options)"),
    ("YAML", "[log]\nlevel: info\n", 2, WORD + " level = value)"),
    ("nginx", "[log]\nlevel info;\n", 2, WORD + " level = value)"),
    ("a key alone", "[log]\nlevel\n", 2, WORD + " level = value)"),
    ("a key with a dot", "log.level = info\n", 1, "a name with a dot (write [log] on a line of its own"),
    ("no key", "[log]\n= info\n", 2, ENTRY),
    ("a stray character", "[log]\n&\n", 2, ENTRY),
    ("JSON", "{\n", 1, ENTRY),
    ("another language's comment", "// nothing\n", 1, ENTRY),
    ("a semicolon's comment", "[log]\nlevel = info ; nothing\n", 2, "unexpected text after the value (put values with spaces in quotes"),
    ("no value", "[log]\nlevel =\n", 2, "a value is missing (write key = value"),
    ("a comment for a value", "[log]\nlevel = # info\n", 2, "a value is missing"),
    ("two equal signs", "[log]\nlevel == info\n", 2, "a value is missing"),
    ("two values", "[log]\nlevel = info debug\n", 2, "unexpected text after the value"),
    ("two strings", "[log]\ntarget = \"/a\" \"/b\"\n", 2, "unexpected text after the value"),
    ("a string that is not closed", "[log]\ntarget = \"/a\n", 2, "the string is not closed (\" is missing at its end)"),
    ("an apostrophe that is not closed", "[log]\ntarget = '/a\n", 2, "the string is not closed (' is missing at its end)"),
    ("a string that ends with a backslash", "[log]\ntarget = \"/a\\\"\n", 2, "the string is not closed"),
    ("a string of several lines", "[responder]\nsystem_prompt = \"\"\"a\nb = 1\"\"\"\n", 2, "strings over several lines are not supported (write \\n"),
    ("an unknown escape", "[log]\ntarget = \"C:\\logs\"\n", 2, "unknown escape in a string (known:"),
    ("half a surrogate", "[log]\ntarget = \"/\\uD800\"\n", 2, "unknown escape"),
    ("a short escape", "[log]\ntarget = \"/\\u00\"\n", 2, "unknown escape"),
    ("an escaped zero", "[log]\ntarget = \"/\\u0000\"\n", 2, "unknown escape"),
    ("a list that is not closed", "[log]\n[server]\ntrusted_proxies = [\"::1\",\n\"::2\"\n", 3, "the list is not closed (']' is missing)"),
    ("a list that the next option ends", "[server]\ntrusted_proxies = [\"::1\"\nkeep_alive = 5\n", 2, "the list is not closed (']' is missing)"),
    ("a list without commas", "[server]\ntrusted_proxies = [\"::1\" \"::2\"]\n", 2, "a ',' is missing between two values of a list (write"),
    ("a list of nothing", "[server]\ntrusted_proxies = [,]\n", 2, "a value is missing"),
    ("a list in a list", "[server]\ntrusted_proxies = [[\"::1\"]]\n", 2, "a value is missing"),
    ("text behind a list", "[server]\ntrusted_proxies = [\"::1\"] \"::2\"\n", 2, "unexpected text after the value"),
    ("a list of thousands", "[server]\ntrusted_proxies = [" + "'::1'," * 2000 + "]\n", 2, "a list has at most 1024 values (remove some)"),
    ("a table", "[log]\nlevel = {a = 1}\n", 2, "unexpected text after the value"),
    ("typographic quotes", "[log]\ntarget = \u201csyslog\u201d\n", 2, "odd characters in a value without quotes (a typographic quote or blank?"),
    ("a hard blank", "[log]\nlevel =\u00a0info\n", 2, "odd characters in a value without quotes"),
    ("Latin-1", b"[log]\ntarget = \"/l\xf6g\"\n", 2, "not a text in UTF-8 (save the file as UTF-8"),
    ("Latin-1 in a comment", b"# l\xf6g\n", 1, "not a text in UTF-8"),
    ("Latin-1 in a section", b"[l\xf6g]\nlevel = info\n", 1, "not a text in UTF-8"),
    ("an overlong character", b"[log]\ntarget = \"/\xc0\xaf\"\n", 2, "not a text in UTF-8"),
    ("a control character", b"[log]\ntarget = \"/\x1b[31m\"\n", 2, "a control character (remove it;"),
    ("a control character in a key", b"[log]\nle\x08vel = info\n", 2, "a control character"),
    ("lines that end with a carriage return", b"[log]\rlevel = info\r\n", 1, "a carriage return inside of the line (end lines with"),
    ("a zero byte", b"[log]\nlevel = in\x00fo\n", 2, "a zero byte: this is not a text (save the file as UTF-8)"),
    ("a mark of another file's beginning", b"\xef\xbb\xbf[log]\n", 1, ENTRY),
]


def from_syntax(good):
    for what, raw, line, says in SYNTAX:
        yield good.followed(what, raw, says, line)
    text = good.text()
    yield Bad("a key before any section", b"bind = '127.0.0.1:1'\n" + text, 1, None, "bind stands before the first [section] (write [server] above it)")
    yield Bad("a foreign key before any section", b"title = 'x'\n" + text, 1, None, "title stands before the first [section] (write [")
    for name in ("utf-16", "utf-16-le", "utf-32"):
        yield Bad(name, text.decode().encode(name), 1, None, "a zero byte: this is not a text")
    yield Bad("a program", pathlib.Path("/bin/sh").read_bytes()[:50000], None, None, "a zero byte: this is not a text")
    yield Bad("an endless file", text + b"# " + b"x" * (1 << 20), None, None, "cannot read it: it is larger than 1024 KiB (name a file")
    spoilt = good.spoilt("", {"log.level": "loud"}, "log.level", "is not one of debug|")
    yield spoilt._replace(name="DOS line ends", text=spoilt.text.replace(b"\n", b"\r\n"))
    yield spoilt._replace(name="a mark at the beginning", text=b"\xef\xbb\xbf" + spoilt.text)
    yield spoilt._replace(name="no line end at the end", text=spoilt.text.rstrip(b"\n"))
    yield good.spoilt("an item of a list over lines", {"server.trusted_proxies": '[\n"::1"]', "server.bind": '[\n\n"127.0.0.1:0"\n]'}, "server.bind",
                      "has no usable port")._replace(line=4)


# ---------------------------------------------------------------- values of one option

ADDRESS, PAGE = "is not an address (write ", "is one of the daemon's own pages (choose another path)"
PLAIN, URL, PUBLIC = "is not a plain path (write it like /whatsapp_response)", "is not a URL (write https://", "can be reached from other machines (write unix:PATH"
NETWORK, VERSION = "is neither an address nor a network (write ", "is not a version of the Graph API (write it like v21.0)"
LONG = "x" * 300

VALUES = {
    "server.bind": [
        ("8000", ADDRESS), ("127.0.0.1", ADDRESS), ("a b:80", ADDRESS), ("http://127.0.0.1:80", ADDRESS),
        ("::1:8000", "is not an address (write an IPv6 address in brackets"), ("[::1]", "is not an address"), ("[::g]:80", "is not an IPv6 address (write"),
        ("[127.0.0.1]:80", "is not an IPv6 address"), ("127.0.0.1:0", "has no usable port (end it with"), ("127.0.0.1:70000", "has no usable port"),
        ("127.0.0.1:", "has no usable port"), ("127.0.0.1:http", "has no usable port"), ("127.0.0.1:-1", "has no usable port"),
        ("300.1.1.1:80", "is not an IPv4 address (write four numbers"), ("127.1:80", "is not an IPv4 address"), (LONG + ":80", ADDRESS),
        ("unix:", "unix: needs a path (write unix:/"), ("unix:/run/" + LONG, "the path of a unix socket is at most 107 bytes long"),
        ("unix:/run/", "is a directory (write the path of a socket in it)"), ("unix:/nonexistent/s", "the directory /nonexistent does not exist (make it"),
        ("unix:/etc/passwd", "a file that is no socket stands at /etc/passwd (remove it"), ("no-such-host.invalid:80", "does not resolve: "),
    ],
    "server.trusted_proxies": [
        ("localhost", NETWORK), ("10.0.0.0/33", NETWORK), ("::/129", NETWORK), ("10.0.0.0/", NETWORK), ("10.0.0/8", NETWORK), ("10.0.0.0/x", NETWORK),
        ("*", "(for everybody write 0.0.0.0/0 and ::/0)"),
    ],
    "server.state_dir": [
        ("", "must not be empty (write a directory"), ("/etc/passwd", "/etc/passwd is not a directory (remove what stands there"),
        ("/etc/passwd/state", "the directory /etc/passwd/state cannot be reached: Not a directory (choose another)"),
        ("/" + "x" * 5000, "the path is longer than 4000 bytes (choose a shorter one)"),
        ("/tmp/" + "y" * 100, "the operator's socket in it would exceed 107 bytes (set admin.bind to a shorter path)"),
    ],
    "server.pid_file": [
        ("/run/", "is a directory (write the path of a file)"), ("/tmp", "is a directory (write the path of a file)"),
        ("/nonexistent/x.pid", "the directory /nonexistent does not exist (make it"),
    ],
    "server.user": [("no-such-user", 'no such user: "no-such-user" (make it'), ("4294967295", "no such user"), ("99999999999999999999", "no such user")],
    "server.group": [("no-such-group", 'no such group: "no-such-group" (make it'), ("4294967295", "no such group")],
    "server.max_rss": [("1", "write 16MiB or more, or 0"), ("15MiB", "write 16MiB or more, or 0")],
    "server.max_age": [("1ms", "write 1s or more, or 0"), ("999ms", "write 1s or more, or 0")],
    "webhook.path": [
        ("", PLAIN), ("hook", "does not begin with a slash (write it like"), ("https://a.example/hook", "does not begin with a slash"), ("/hook?x", PLAIN),
        ("/hook#x", PLAIN), ("/a b", PLAIN), ("/a%20b", PLAIN), ("/a//b", PLAIN), ("/a/../b", PLAIN), ("/hook/", PLAIN), ("/h\u00f6ok", PLAIN),
        ("/" + "x" * 2000, PLAIN), ("/", PAGE), ("/health", PAGE), ("/ready", PAGE), ("/metrics", PAGE), ("/prometheus/metrics", PAGE),
        ("/admin/cache/clear", PAGE), ("/api/performance/metrics", PAGE), ("/dashboard", PAGE), ("/live", PAGE),
    ],
    "directory.store": [
        ("sqlte:/x", 'unknown kind of store "sqlte" (write sqlite:PATH or mongodb://HOST/DATABASE)'), ("/var/lib/x.db", "unknown kind of store"), ("sqlite:", "sqlite: needs a path (write"),
        ("redis://127.0.0.1", 'unknown kind of store "redis"'), ("sqlite:/" + "x" * 5000, "the path is longer than 4000 bytes"),
    ],
    "directory.default_phone_number_id": [("12 34", "is not a phone number id (write at most 32"), ("1" * 33, "is not a phone number id")],
    "crypto.encryption_key_salt": [("", "must not be empty (leave it out")],
    "responder.url": [
        ("example.com", URL), ("ftp://example.com", URL), ("http:/example.com", URL), ("https://", URL), ("https:///x", URL), ("https://a b/", URL),
        ("https://a:0/", URL), ("https://a:99999/", URL), ("https://a:/", URL), ("https://[::1/", URL), ("https://a/#x", URL), ("https://u:p@/x", URL),
    ],
    "graph.base_url": [
        ("", "must not be empty (write https://graph.facebook.com)"), ("graph.facebook.com", URL), ("https://graph.facebook.com?x=1", "must end without a '?'"),
    ],
    "graph.version": [("", VERSION), ("21.0", VERSION), ("v21", VERSION), ("v21.", VERSION), ("v21.0/", VERSION), ("latest", VERSION)],
    "admin.bind": [
        ("0.0.0.0:9000", PUBLIC), (":9000", PUBLIC), ("10.1.2.3:9000", PUBLIC), ("[::]:9000", PUBLIC), ("host.example:9000", PUBLIC),
        ("9000", ADDRESS), ("127.0.0.1:0", "has no usable port"), ("unix:", "unix: needs a path"), ("unix:/run/" + LONG, "at most 107 bytes"),
        ("unix:/nonexistent/s", "the directory /nonexistent does not exist"), ("on", ADDRESS),
    ],
    "log.target": [
        ("", "must not be empty (write stderr, syslog or a file's path)"), ("/tmp", "/tmp is a directory (write the path of a file)"),
        ("/nonexistent/x.log", "the directory /nonexistent does not exist (make it"), ("/etc/passwd/x.log", "/etc/passwd is not a directory (remove"),
    ],
    "log.access": [
        ("", "must not be empty (write stderr, syslog, off or a file's path)"), ("/tmp", "is a directory (write the path of a file)"),
        ("/nonexistent/x.log", "the directory /nonexistent does not exist"),
    ],
}


def from_values(good):
    lists = {o.name for o in options() if o.type == "LIST"}
    for name, rows in VALUES.items():
        for value, says in rows:
            written = f'["{value}"]' if name in lists else f'"{value}"'
            yield good.spoilt(f"{name} = {value[:40]}", {name: written}, name, says)


# ---------------------------------------------------------------- secrets that stand elsewhere

def from_secrets(good, directory):
    place = directory / "secrets"
    place.mkdir()
    contents = {"empty": b"", "only a line end": b"\n", "blanks": b"  \n", "huge": b"x" * 70000, "binary": b"a\x00b\n", "two lines": b"one\ntwo\n",
                "a control character": b"a\x07b"}
    says = {"empty": "is empty (write the secret into it", "only a line end": "is empty", "blanks": "is empty", "huge": "it is larger than 64 KiB (the file",
            "binary": "holds binary data", "two lines": "has several lines", "a control character": "contains a control character at byte 2"}
    for what, content in contents.items():
        path = place / what.replace(" ", "-")
        path.write_bytes(content)
        path.chmod(0o600)
        yield good.spoilt(f"a secret's file: {what}", {"webhook.verify_token": f'"file:{path}"'}, "webhook.verify_token", says[what])
    os.mkfifo(place / "pipe")
    for path, reason in ((place, "it is a directory"), (place / "pipe", "it is no regular file"), ("/dev/zero", "it is no regular file")):
        yield good.spoilt(f"a secret's file: {path}", {"admin.token": f'"file:{path}"'}, "admin.token", f"cannot read {path}: {reason} (the file")
    if os.geteuid() != 0:
        (place / "closed").write_bytes(b"x")
        (place / "closed").chmod(0)
        yield good.spoilt("a secret's file: closed", {"admin.token": f'"file:{place}/closed"'}, "admin.token", "Permission denied (the file")
    yield good.spoilt("file: alone", {"admin.token": '"file:"'}, "admin.token", "file: needs a path (write file:/")
    yield good.spoilt("env: alone", {"admin.token": '"env:"'}, "admin.token", "env: needs the name of a variable (write env:")
    yield good.spoilt("one of several", {"webhook.app_secrets": f'["a",\n"file:{place}/empty",\n"b"]'}, "webhook.app_secrets", "is empty")._replace(
        line=good.lines()[1]["webhook.app_secrets"] + 1)


# ---------------------------------------------------------------- good alone, but not together, or not here

def from_together(good, directory, port):
    closed, other = directory / "closed", directory / "other"
    closed.mkdir(mode=0o555)
    other.mkdir()
    # Root may write anywhere, the user that the children become may not.
    user = {"server.user": '"nobody"'} if os.geteuid() == 0 else {}
    refused = "may not write into" if user else "cannot be written: Permission denied"
    yield good.spoilt("a state directory of another", {"server.state_dir": f'"{closed}"', "admin.bind": "'off'", **user}, "server.state_dir", refused)
    if user:
        mine = {"server.state_dir": "'/tmp/wahook-is-not-there'", **user}  # which the daemon would make for its user
        yield good.spoilt("an access log of another", {"log.access": f'"{closed}/log"', **mine}, "log.access", refused)
        (other / "log").write_bytes(b"")
        yield good.spoilt("an access log's file of another", {"log.access": f'"{other}/log"', **mine}, "log.access", 'user "nobody" may not')
    yield good.spoilt("no secret", {"webhook.app_secrets": None}, "webhook.app_secrets", "none is set, so no webhook's signature", "")
    yield good.spoilt("an empty list of secrets", {"webhook.app_secrets": "[]"}, "webhook.app_secrets", "none is set")
    yield good.spoilt("no secret, and said so", {"webhook.app_secrets": None, "webhook.allow_unsigned": "no"}, "webhook.app_secrets", "none is set",
                      "webhook.allow_unsigned")
    yield good.spoilt("no address", {"server.bind": "[]"}, "server.bind", "no address to listen on (write")
    for kind in ("http", "openai"):
        yield good.spoilt(f"{kind} without a URL", {"responder.type": kind}, "responder.url", f"is missing: the {kind} responder needs a", "responder.type")
    yield good.spoilt("openai without a key", {"responder.type": "openai", "responder.url": '"https://api.example.com"'}, "responder.key",
                      "is missing: the openai responder needs the service's key (e.g.", "responder.type")
    yield good.spoilt("a token without a number", {"directory.default_token": '"t"'}, "directory.default_phone_number_id",
                      "is missing beside directory.default_token (set both or none)", "directory.default_token")
    yield good.spoilt("a number without a token", {"directory.default_phone_number_id": '"1"'}, "directory.default_token",
                      "is missing beside directory.default_phone_number_id", "directory.default_phone_number_id")
    yield good.spoilt("a protocol that nobody may speak", {"server.proxy_protocol": "yes"}, "server.proxy_protocol", "no proxy is trusted (set server.")
    together = "cannot both be listened on: one includes the other (remove one)"
    for first, second, says in ((f"127.0.0.1:{port}", f"127.0.0.1:{port}", "stands there twice (remove one)"), (f"0.0.0.0:{port}", f"127.0.0.1:{port}", together),
                                (f"127.0.0.1:{port}", f":{port}", together), (f"[::]:{port}", f"[::1]:{port}", together),
                                (f"localhost:{port}", f"127.0.0.1:0{port}", together), ("unix:/tmp/s", "unix:/tmp/s", "stands there twice")):
        yield good.spoilt(f"{first} and {second}", {"server.bind": f'["{first}", "{second}"]'}, "server.bind", says)
    for public, admin in ((f"127.0.0.1:{port}", f"127.0.0.1:{port}"), (f"0.0.0.0:{port}", f"localhost:{port}"), (f":{port}", f"[::1]:{port}")):
        yield good.spoilt(f"the operator's pages on {admin} beside {public}", {"server.bind": f'["{public}"]', "admin.bind": f'"{admin}"'}, "admin.bind",
                          "cannot be listened on beside server.bind: one includes the other (give")
    yield good.spoilt("the operator's socket for webhooks", {"server.bind": f'["unix:{other}/admin.sock"]', "server.state_dir": f'"{other}"'}, "server.bind",
                      "cannot be listened on beside admin.bind")
    for key in ("target", "access"):
        yield good.spoilt(f"the pid in log.{key}", {"server.pid_file": f'"{directory}/x.log"', f"log.{key}": f'"{directory}/x.log"'}, "server.pid_file",
                          f"is the file of log.{key}, too (give each")


def table(directory, port, state):
    """All of them, for a daemon that listens on `port` with its state in `state`; what they need is made in `directory`."""
    good = Good(port, state)
    yield from from_options(good)
    yield from from_syntax(good)
    yield from from_values(good)
    yield from from_secrets(good, directory)
    yield from from_together(good, directory, port)
