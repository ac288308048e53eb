from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from parcours.ops.settings import Settings
from parcours.ops.tokens import Tokens, tokens_of

values = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5)


@given(values)
def test_what_was_signed_is_read(value: object) -> None:
    tokens = Tokens("secret")
    assert tokens.read("open", tokens.sign("open", value)) == value


@given(st.text())
def test_what_we_did_not_sign_is_nothing(token: str) -> None:
    assert Tokens("secret").read("open", token) is None


def test_a_token_is_of_one_purpose_and_one_secret() -> None:
    signed = Tokens("secret").sign("open", ["12-3-4-1"])
    assert Tokens("secret").read("click", signed) is None
    assert Tokens("other").read("open", signed) is None
    assert Tokens("secret").read("open", signed[:-1]) is None


def test_every_process_of_an_installation_signs_alike(engine: Engine) -> None:
    signed = tokens_of(engine, Settings(secret_key=None)).sign("open", 1)
    assert tokens_of(engine, Settings(secret_key=None)).read("open", signed) == 1
    assert tokens_of(engine, Settings(secret_key="mine")).read("open", signed) is None
