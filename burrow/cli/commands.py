"""The commands of ``burrow``: their names, flags, arguments and examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from burrow.cli.arguments import Command, Positional
from burrow.errors import ConfigError
from burrow.settings import BOOLEAN, TEXT, Kind, Schema, Setting

if TYPE_CHECKING:  # importing it takes as long as all of Twisted
    from burrow.interfaces.protocol import ITunnelProtocol

ADDR = Positional("addr", "the address of the local service: a port, HOST:PORT or a URL")


def commands(protocols: Mapping[str, ITunnelProtocol], common: Schema) -> list[Command]:
    """Return every command.

    Args:
        protocols: Each is a command of its own.
        common: Flags of every command that publishes tunnels.
    """
    return [*(_protocol(protocol, common) for protocol in protocols.values()), *_others(common)]


def _protocol(protocol: ITunnelProtocol, common: Schema) -> Command:
    name = protocol.name
    examples = [(f"{name} 8080", "publish what listens on local port 8080")]
    examples += [
        (f"{name} -{setting.flag}={setting.example} 8080", setting.help[:1].lower() + setting.help[1:])
        for setting in protocol.settings
        if setting.example
    ]
    return Command(
        name,
        protocol.summary,
        protocol.settings + common,
        (ADDR,),
        f"{sentence(protocol.summary)} Without -server-addr an embedded relay on this machine serves it.",
        tuple(examples),
    )


def sentence(text: str) -> str:
    """Return a summary as a sentence."""
    return f"{text[:1].upper()}{text[1:]}."


def _check_start(values: Mapping[str, Any]) -> None:
    if values["all"] + values["none"] + bool(values["name"]) != 1:
        raise ConfigError("start wants names of tunnels, or --all for all of them, or --none for none")


RELAY = Kind("HOST:PORT of a relay", TEXT.convert, metavar="HOST:PORT")
FINGERPRINT = Kind("sha256:HEX of the relay's key", TEXT.convert, metavar="sha256:HEX")


def _others(common: Schema) -> list[Command]:
    which = Schema(
        (
            Setting("all", BOOLEAN, "start all tunnels of the configuration files", default=False),
            Setting("none", BOOLEAN, "start no tunnel: only connect", default=False),
        )
    )
    names = Positional("name", "names of tunnels in the configuration files", required=False, repeated=True)
    joining = Schema(
        (
            Setting("relay", RELAY, "address of the relay, for a join token"),
            Setting("fingerprint", FINGERPRINT, "fingerprint of the relay's key, for a join token"),
        )
    )
    return [
        Command(
            "start",
            "start tunnels of the configuration files",
            which + common,
            (names,),
            "Without -config it reads ~/.burrow/burrow.yml. A tunnel that is refused ends the program.",
            examples=(("start web db", "start the tunnels named web and db"), ("start --all", "start all")),
            check=_check_start,
        ),
        Command(
            "demo",
            "share a small demonstration site",
            common,
            description="The site comes with burrow and is served by it: it needs nothing else to be there.",
            examples=(("demo", "publish a page that shows what burrow does"),),
        ),
        Command("ca", "print the path of the embedded relay's certificate authority"),
        Command("plugins", "list the tunnel protocols and where they come from"),
        Command(
            "relay token new",
            "make an authtoken for an account of a relay, and its hash for relay.yml",
            joining,
            description="With -relay and -fingerprint the token says where the relay is and how to know it:"
            " it is then all that a client has to be given.",
            examples=(
                ("relay token new", "print a token and its hash"),
                ("relay token new -relay HOST:443 -fingerprint sha256:HEX", "a join token, and its hash"),
            ),
        ),
        Command(
            "relay fingerprint",
            "print the fingerprint of a relay's key, for a join token",
            positionals=(Positional("file", "relay.yml, or the relay's certificate in PEM form"),),
            examples=(
                ("relay fingerprint /etc/burrow/relay.yml", "of the relay of that configuration"),
                ("relay fingerprint relay.example.com.crt", "of the relay that has that certificate"),
            ),
        ),
        Command("version", "print the version"),
        Command(
            "help",
            "print this overview, or the help of a command",
            positionals=(Positional("command", "a command", required=False, repeated=True),),
        ),
    ]
