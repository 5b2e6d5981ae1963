"""The entry point of ``burrow``: reads the command line and does what it says.

What a command needs is imported when it runs, so that ``burrow version`` is quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from burrow import __version__
from burrow.cli.arguments import VERSION_FLAGS, Invocation, UsageError, error_text, parse
from burrow.cli.commands import commands
from burrow.cli.help import help_for, overview
from burrow.errors import BurrowError, ConfigError

if TYPE_CHECKING:
    from burrow.cli.arguments import Command
    from burrow.discovery import Discovered

VERSION = f"burrow version {__version__}"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the program with ``argv``, by default the process's own; exits with its status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["version"] or words[:1] in [[flag] for flag in VERSION_FLAGS]:
        print(VERSION)
        sys.exit(0)
    sys.exit(run(words))


def run(words: Sequence[str]) -> int:
    """Do what ``words`` say; return the exit status."""
    from burrow.client.config import FLAGS
    from burrow.discovery import discover

    discovered = discover()
    known = commands(discovered.protocols, FLAGS)
    try:
        invocation = parse(words, known)
        return perform(invocation, known, discovered)
    except UsageError as error:
        if error.overview:
            print(overview(known, VERSION))
        sys.stderr.write(error_text(error))
    except BurrowError as error:
        sys.stderr.write(error_text(error))
    return 1


def perform(invocation: Invocation, known: Sequence[Command], discovered: Discovered) -> int:
    """Do one command."""
    name = invocation.command.name
    if name == "help":
        print(help_for(invocation.values["command"], known, VERSION))
        return 0
    simple: dict[str, Callable[[], int]] = {
        "version": lambda: _print(VERSION),
        "plugins": lambda: plugins(discovered),
        "ca": authority,
        "relay fingerprint": lambda: print_fingerprint(invocation.values["file"]),
        "relay token new": lambda: new_relay_token(invocation.values),
    }
    if name in simple:
        return simple[name]()
    return tunnels(invocation, discovered)


def _print(text: str) -> int:
    print(text)
    return 0


def plugins(discovered: Discovered) -> int:
    """List the tunnel protocols, and the plugins that cannot be used."""
    rows = [
        (name, protocol.summary, discovered.origins[name]) for name, protocol in discovered.protocols.items()
    ]
    name_width, summary_width = (max((len(row[column]) for row in rows), default=0) for column in (0, 1))
    for name, summary, origin in rows:
        print(f"{name:<{name_width}}  {summary:<{summary_width}}  {origin}")
    for broken in discovered.broken:
        print(f"cannot be used: {broken.where}: {broken.error}")
    return 0


def authority() -> int:
    """Print the path of the embedded relay's authority; make it if it is not there."""
    from burrow.cli.embedded import state_directory
    from burrow.relay.authority import LocalAuthority

    return _print(str(LocalAuthority.load_or_create(state_directory(os.environ)).certificate_path))


def print_fingerprint(file: str) -> int:
    """Print the fingerprint of a relay's key."""
    from burrow.cli.relay_key import relay_fingerprint

    return _print(relay_fingerprint(Path(file)))


def new_relay_token(values: dict[str, Any]) -> int:
    """Print a new authtoken and its hash; as a join token if the relay's address and key are given."""
    from burrow.tokens import JoinToken, hash_token, new_token

    secret = new_token()
    token = secret
    if values["relay"] or values["fingerprint"]:
        if not (values["relay"] and values["fingerprint"]):
            raise ConfigError("a join token takes both -relay HOST:PORT and -fingerprint sha256:HEX")
        try:
            token = JoinToken(values["relay"], values["fingerprint"], secret).encode()
        except ValueError as error:
            raise ConfigError(f"a join token cannot be made: {error}") from None
    print(f"token: {token}")
    print(f"hash:  {hash_token(secret)}")
    print("Give the token to the client (authtoken:), put the hash under tokens: of an account in relay.yml.")
    return 0


def tunnels(invocation: Invocation, discovered: Discovered) -> int:
    """Publish tunnels until the user stops the program."""
    from twisted.internet.defer import succeed

    from burrow.client.config import COMMON, default_config_path, load_client_config

    paths = [Path(path) for path in invocation.values["config"] or ()]
    flags = {key: invocation.values[key] for key in invocation.given if key in COMMON}
    config = load_client_config(paths, discovered.protocols, os.environ, flags, default_config_path())
    definitions = _definitions(invocation, discovered, config)

    from burrow.net.reactor import install

    install()
    from twisted.internet import reactor

    from burrow.cli.running import Run

    run = Run(reactor, config, discovered)
    if definitions is None:
        return run.run(lambda: _demo(reactor, discovered))
    return run.run(lambda: succeed(definitions))


def _definitions(invocation: Invocation, discovered: Discovered, config: Any) -> Any:
    """Return what the command publishes; ``None`` for what is not there before the reactor runs."""
    from burrow.client.definitions import COMMAND_LINE, define

    name, values = invocation.command.name, invocation.values
    if name == "demo":
        return None
    if name == "start":
        return _started(values, config)
    return [define(COMMAND_LINE, discovered.protocols[name], values["addr"], values)]


def _started(values: dict[str, Any], config: Any) -> Any:
    if values["none"]:
        return ()
    if values["all"] and not config.tunnels:
        raise ConfigError(
            "start --all wants at least one tunnel in the configuration files; --none starts none\n"
            f"Config files read: [{' '.join(map(str, config.files))}]"
        )
    return config.chosen(list(config.tunnels) if values["all"] else values["name"])


def _demo(reactor: Any, discovered: Discovered) -> Any:
    from burrow.cli.demo_site import demo_site
    from burrow.client.definitions import define

    def shared(port: Any) -> Any:
        return [define("demo", discovered.protocols["http"], f"127.0.0.1:{port.getHost().port}", {})]

    return demo_site(reactor).addCallback(shared)
