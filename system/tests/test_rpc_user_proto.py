"""The generated code is what the proto files say, and the methods are those of their services: clause 3.2."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from brownout_shop.rpc import user_pb2
from brownout_shop.rpc.method import CREATE_USER, GET_USER, Method
from brownout_shop.rpc.user_pb2 import User

SYSTEM = Path(user_pb2.__file__).parents[2]
OF_THE_GENERATOR = re.compile(r"# Protobuf Python Version|    \d+,$")


def written(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not OF_THE_GENERATOR.match(line)]


@pytest.mark.parametrize("proto", ["user", "health"])
def test_the_committed_code_is_what_the_proto_generates(proto: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    subprocess.run([*command, f"brownout_shop/rpc/{proto}.proto"], cwd=SYSTEM, check=True)
    for name in (f"{proto}_pb2.py", f"{proto}_pb2.pyi"):
        assert written(SYSTEM / "brownout_shop/rpc" / name) == written(tmp_path / "brownout_shop/rpc" / name)


@pytest.mark.parametrize("method", [GET_USER, CREATE_USER])
def test_a_method_is_the_one_of_the_proto(method: Method[Any, Any]) -> None:
    service = user_pb2.DESCRIPTOR.services_by_name["UserService"]
    declared = service.methods_by_name[method.name]
    assert method.path == f"/{service.full_name}/{declared.name}"
    assert (declared.input_type, declared.output_type) == (method.request.DESCRIPTOR, method.answer.DESCRIPTOR)


def test_a_users_fields_have_the_documented_numbers() -> None:
    assert {field.name: field.number for field in User.DESCRIPTOR.fields} == {"id": 1, "name": 2, "email": 3}
