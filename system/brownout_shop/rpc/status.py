"""How gRPC tells a problem: a status code, the detail, and the problem's word in the trailing metadata."""

from grpc import StatusCode

from brownout_shop.problems import Problem

__all__ = ["REFUSALS", "WORD", "code_of"]

WORD = "problem"

REFUSALS = {
    StatusCode.INVALID_ARGUMENT: 422,
    StatusCode.OUT_OF_RANGE: 422,
    StatusCode.UNAUTHENTICATED: 401,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.NOT_FOUND: 404,
    StatusCode.ALREADY_EXISTS: 409,
    StatusCode.FAILED_PRECONDITION: 409,
    StatusCode.ABORTED: 409,
    StatusCode.RESOURCE_EXHAUSTED: 429,
}
"""The codes that say it is the caller's mistake, each with the HTTP status that says the same."""

_CODES = {
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND,
    409: StatusCode.ALREADY_EXISTS,
    422: StatusCode.INVALID_ARGUMENT,
    429: StatusCode.RESOURCE_EXHAUSTED,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.DEADLINE_EXCEEDED,
}


def code_of(problem: Problem) -> StatusCode:
    """Return the code that says the same as a problem's status."""
    return _CODES.get(problem.status, StatusCode.INTERNAL)
