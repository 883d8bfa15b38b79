"""The rules of users: pure, without the network, a database or a clock."""

import re
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["TOKEN_LIFE_S", "InvalidUserError", "Role", "User", "checked_email", "checked_name", "checked_password"]

TOKEN_LIFE_S = 3600
NAME_LENGTH = 200
PASSWORD_LENGTHS = (8, 1000)
ATOM = r"[\w!#$%&'*+/=?^`{|}~-]+"
LABEL = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
EMAIL = re.compile(rf"(?=[^@]{{1,64}}@[^@]{{1,255}}\Z){ATOM}(?:\.{ATOM})*@{LABEL}(?:\.{LABEL})*")
"""What mail can be sent to: a dot-atom at a host (RFC 5322, 3.4.1; RFC 6531 for letters of any language).

Quoted names, comments and literal addresses are left out: nobody has one, and few programs can write them.
"""


class InvalidUserError(ValueError):
    """A user's data breaks a rule, which the message names; it never repeats the data."""


class Role(StrEnum):
    """What a user may do: customers what concerns themselves, admins what concerns the shop."""

    CUSTOMER = "customer"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class User:
    """A user, as others may see one."""

    id: str
    name: str
    email: str
    role: Role


def checked_name(name: str) -> str:
    """Return the name without the space around it.

    Raises:
        InvalidUserError: it is empty or too long.
    """
    name = name.strip()
    if not 0 < len(name) <= NAME_LENGTH:
        raise InvalidUserError(f"name: 1 to {NAME_LENGTH} characters")
    return name


def checked_email(email: str) -> str:
    """Return the address as it is compared: without the space around it, in small letters.

    Raises:
        InvalidUserError: it has not the form of an address.
    """
    email = email.strip().lower()
    if not EMAIL.fullmatch(email):
        raise InvalidUserError("email: something@somewhere")
    return email


def checked_password(password: str) -> str:
    """Return the password as it is.

    Raises:
        InvalidUserError: it is too short, or so long that hashing it would be an attack.
    """
    shortest, longest = PASSWORD_LENGTHS
    if not shortest <= len(password) <= longest:
        raise InvalidUserError(f"password: {shortest} to {longest} characters")
    return password
