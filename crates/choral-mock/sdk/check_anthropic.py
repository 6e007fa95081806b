"""Anthropic's own client against the mock."""

import json

import anthropic
import pydantic

from mock import answer, digest, fault, raises

MODEL = "claude-sonnet-5"
# Takes sampling parameters, and no system messages amid a conversation.
OLD_MODEL = "claude-haiku-4-5"
OLD = {"anthropic-version": "2023-06-01"}


class City(pydantic.BaseModel):
    name: str
    people: int


TOOL = {"name": "get_weather", "description": "x", "input_schema": City.model_json_schema()}


def client(mock, **options):
    options = {"api_key": "sk-ant-test", "max_retries": 0, "timeout": 10, **options}
    return anthropic.Anthropic(base_url=mock.url, **options)


def user(content):
    return [{"role": "user", "content": content}]


def ask(ai, content, **options):
    return ai.messages.create(**{"model": MODEL, "max_tokens": 100, "messages": user(content), **options})


def messages(mock):
    ai = client(mock)
    raw = ai.messages.with_raw_response.create(
        model=MODEL, max_tokens=100, system="be brief", messages=user("what is one")
    )
    assert raw.headers["request-id"].startswith("req_")
    assert int(raw.headers["anthropic-ratelimit-requests-remaining"]) > 0
    done = raw.parse()
    assert done.content[0].text == answer(("system", "be brief"), ("user", "what is one"))
    assert (done.stop_reason, done.role, done.model) == ("end_turn", "assistant", MODEL)
    assert done.usage.input_tokens > 0 and done.usage.output_tokens > 0

    done = ask(ai, "one two", max_tokens=2)
    assert done.stop_reason == "max_tokens" and done.usage.output_tokens == 2
    done = ask(ai, "one two three", stop_sequences=["two"])
    assert (done.stop_reason, done.stop_sequence) == ("stop_sequence", "two")
    source = {"type": "base64", "media_type": "image/png", "data": "cGl4ZWxz"}
    done = ask(ai, [{"type": "image", "source": source}, {"type": "text", "text": "what"}])
    assert "<image 6ec9c2b0eb14>" in done.content[0].text

    count = ai.messages.count_tokens(model=MODEL, system="be brief", messages=user("what is one"))
    assert count.input_tokens == raw.parse().usage.input_tokens


def stream(mock):
    ai = client(mock)
    kinds = [event.type for event in ask(ai, "a b", stream=True)]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    with ai.messages.stream(model=MODEL, max_tokens=100, messages=user("a b")) as events:
        assert "".join(events.text_stream) == answer(("user", "a b"))
        final = events.get_final_message()
    whole = ask(ai, "a b")
    assert final.content[0].text == whole.content[0].text
    assert (final.usage.output_tokens, final.stop_reason) == (whole.usage.output_tokens, "end_turn")
    with ai.messages.stream(
        model=MODEL, max_tokens=100, messages=user("get_weather"), tools=[TOOL]
    ) as events:
        final = events.get_final_message()
    assert final.content[0].input == {"name": digest([("user", "get_weather")]), "people": 7}
    assert final.stop_reason == "tool_use"


def tools_and_formats(mock):
    ai = client(mock)
    done = ask(ai, "get_weather please", tools=[TOOL])
    call = done.content[0]
    assert call.name == "get_weather" and call.input["people"] == 7
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    turns = [*user("get_weather please"), {"role": "assistant", "content": done.content}, *user([result])]
    assert ai.messages.create(model=MODEL, max_tokens=99, messages=turns, tools=[TOOL]).stop_reason == "end_turn"
    result["tool_use_id"] = "toolu_other"
    raises(
        anthropic.BadRequestError,
        lambda: ai.messages.create(model=MODEL, max_tokens=99, messages=turns, tools=[TOOL]),
    )
    assert ask(ai, "hello", tools=[TOOL], tool_choice={"type": "any"}).stop_reason == "tool_use"
    done = ai.messages.parse(model=MODEL, max_tokens=99, messages=user("a city"), output_format=City)
    assert done.parsed_output == City(name=digest([("user", "a city")]), people=7)


def versions(mock):
    ai = client(mock)
    hot = {"extra_body": {"temperature": 0.5}}
    assert ask(ai, "x", model=OLD_MODEL, extra_headers=OLD, **hot).content
    error = raises(anthropic.BadRequestError, lambda: ask(ai, "x", extra_headers=OLD, **hot))
    assert error.api_message == "`temperature` is deprecated for this model."
    error = raises(anthropic.BadRequestError, lambda: ask(ai, "x", model=OLD_MODEL, **hot))
    assert error.api_message == "temperature: Extra inputs are not permitted"
    raises(anthropic.BadRequestError, lambda: ask(ai, "x", extra_headers={"anthropic-version": "2020-01-01"}))
    status, body = mock.get("/v1/messages/batches", {"x-api-key": "k"})
    assert status == 400 and body["error"]["message"] == "anthropic-version: header is required"
    status, _ = mock.get("/v1/models", {"x-api-key": "k", **OLD})
    assert status == 200, "both ways of sending a key are taken"


def system_amid(mock):
    ai = client(mock)
    turns = [*user("what is one"), {"role": "system", "content": "be brief"}]
    done = ai.messages.create(model=MODEL, max_tokens=99, messages=turns)
    assert done.content[0].text == answer(("user", "what is one"), ("system", "be brief"))
    for wrong in ({"model": OLD_MODEL, "messages": turns}, {"model": MODEL, "messages": turns[::-1]}):
        raises(
            anthropic.BadRequestError,
            lambda wrong=wrong: ai.messages.create(max_tokens=99, **wrong),
        )


def models(mock):
    ai = client(mock)
    names = [model.id for model in ai.models.list(limit=1)]
    assert MODEL in names and len(names) > 1, "pages follow each other"
    assert ai.models.retrieve(MODEL).display_name
    raises(anthropic.NotFoundError, lambda: ai.models.retrieve("claude-none"))


def batch(ai, end="completed", extra=()):
    rows = [(f"row-{i}", {"messages": user(f"q {i}")}) for i in range(5)] + list(extra)
    return ai.messages.batches.create(
        requests=[
            {
                "custom_id": name,
                "params": {"model": MODEL, "max_tokens": 50, "metadata": {"user_id": end}, **params},
            }
            for name, params in rows
        ]
    )


def batches(mock):
    ai = client(mock)
    made = batch(ai, extra=[("bad", {"max_tokens": 0, "messages": user("x")}), ("broken", {"messages": user("[[mock:529]]")})])
    assert made.processing_status == "in_progress" and made.request_counts.processing == 7
    raises(anthropic.AnthropicError, lambda: ai.messages.batches.results(made.id))
    polls = 0
    while made.processing_status != "ended":
        made = ai.messages.batches.retrieve(made.id)
        polls += 1
    # The SDK's `results` asked once too, for the address of what was not there yet.
    assert polls == 1 and (made.request_counts.succeeded, made.request_counts.errored) == (5, 2)
    found = {line.custom_id: line.result for line in ai.messages.batches.results(made.id)}
    for i in range(5):
        assert found[f"row-{i}"].message.content[0].text == answer(("user", f"q {i}"))
    assert found["bad"].error.error.type == "invalid_request_error"
    assert found["broken"].error.error.type == "overloaded_error"

    expired = batch(ai, end="expired")
    for _ in range(2):
        expired = ai.messages.batches.retrieve(expired.id)
    kinds = sorted(line.result.type for line in ai.messages.batches.results(expired.id))
    assert kinds == ["expired"] * 2 + ["succeeded"] * 3

    cancelled = batch(ai)
    ai.messages.batches.retrieve(cancelled.id)
    assert ai.messages.batches.cancel(cancelled.id).processing_status == "canceling"
    cancelled = ai.messages.batches.retrieve(cancelled.id)
    assert (cancelled.processing_status, cancelled.request_counts.canceled) == ("ended", 2)
    assert cancelled.cancel_initiated_at

    assert made.id in [listed.id for listed in ai.messages.batches.list(limit=1)]
    assert ai.messages.batches.delete(made.id).type == "message_batch_deleted"
    raises(anthropic.NotFoundError, lambda: ai.messages.batches.retrieve(made.id))
    twice = {"custom_id": "a", "params": {"model": MODEL, "max_tokens": 1, "messages": user("x")}}
    raises(anthropic.BadRequestError, lambda: ai.messages.batches.create(requests=[twice, twice]))


def errors(mock):
    ai = client(mock)
    kinds = {
        400: (anthropic.BadRequestError, "invalid_request_error"),
        401: (anthropic.AuthenticationError, "authentication_error"),
        403: (anthropic.PermissionDeniedError, "permission_error"),
        404: (anthropic.NotFoundError, "not_found_error"),
        409: (anthropic.ConflictError, "conflict_error"),
        413: (anthropic.RequestTooLargeError, "request_too_large"),
        422: (anthropic.UnprocessableEntityError, "invalid_request_error"),
        429: (anthropic.RateLimitError, "rate_limit_error"),
        500: (anthropic.InternalServerError, "api_error"),
        503: (anthropic.ServiceUnavailableError, "api_error"),
        529: (anthropic.OverloadedError, "overloaded_error"),
    }
    for status, (kind, name) in kinds.items():
        error = raises(kind, lambda status=status: ask(ai, "x", extra_headers=fault(f"{status}*")))
        assert error.type == name and error.request_id and error.body["request_id"]
    raises(anthropic.AuthenticationError, lambda: ask(client(mock, api_key="invalid-key"), "x"))
    raises(anthropic.NotFoundError, lambda: ask(ai, "x", model="claude-none"))
    raises(anthropic.BadRequestError, lambda: ask(ai, "x", max_tokens=0))
    raises(anthropic.BadRequestError, lambda: ai.messages.create(model=MODEL, max_tokens=9, messages=[]))


def broken_answers(mock):
    ai = client(mock)

    def streamed(script):
        return [event.type for event in ask(ai, f"a b c d [[mock:{script}]]", stream=True)]

    assert "message_stop" not in streamed("half-stream")
    error = raises(anthropic.APIStatusError, lambda: streamed("stream-error"))
    assert error.type == "overloaded_error"
    raises(json.JSONDecodeError, lambda: streamed("malformed-json"))
    for script in ("reset", "close", "truncated", "reset-after-headers"):
        raises(anthropic.APIConnectionError, lambda script=script: ask(ai, f"[[mock:{script}]]"))
    raises(anthropic.APITimeoutError, lambda: ask(client(mock, timeout=0.2), "[[mock:stall=30]]"))


def retries(mock):
    mock.clear()
    script = "[[mock:529;retry-after-ms=5,429;retry-after-ms=5,reset]]"
    assert ask(client(mock, max_retries=3), f"again {script}").content
    assert mock.num_requests() == 4
    mock.clear()
    raises(
        anthropic.OverloadedError,
        lambda: ask(client(mock, max_retries=1), "[[mock:529;retry-after-ms=5*]]"),
    )
    assert mock.num_requests() == 2


CHECKS = [
    messages, stream, tools_and_formats, versions, system_amid, models, batches, errors, broken_answers, retries,
]
