"""A method of a gRPC service, as its caller and its server both know it."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from brownout_shop.rpc.user_pb2 import CreateUserRequest, GetUserRequest, User

__all__ = ["CREATE_USER", "GET_USER", "Method"]

Request = TypeVar("Request", bound=Message)
Answer = TypeVar("Answer", bound=Message)


@dataclass(frozen=True, slots=True)
class Method(Generic[Request, Answer]):
    """One request, one answer.

    Args:
        service: the service's full name.
        name: the method's name.
        request: what it is asked.
        answer: what it answers.
    """

    service: str
    name: str
    request: type[Request]
    answer: type[Answer]

    @property
    def path(self) -> str:
        """Where it is called."""
        return f"/{self.service}/{self.name}"


GET_USER = Method("user.UserService", "GetUser", GetUserRequest, User)
CREATE_USER = Method("user.UserService", "CreateUser", CreateUserRequest, User)
