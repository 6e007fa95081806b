"""OpenAI's own client against the mock."""

import asyncio
import base64
import json

import openai
import pydantic

from mock import answer, digest, fault, raises

CHAT = "gpt-4o-mini"
PROMPT = "gpt-3.5-turbo-instruct"
EMBED = "text-embedding-3-small"
PIXEL = base64.b64encode(b"not really a picture").decode()


class City(pydantic.BaseModel):
    name: str
    people: int


TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": City.model_json_schema(),
    },
}


def client(mock, **options):
    options = {"api_key": "sk-test", "max_retries": 0, "timeout": 10, **options}
    return openai.OpenAI(base_url=mock.url + "/v1", **options)


def user(text):
    return [{"role": "user", "content": text}]


def chat(mock):
    ai = client(mock)
    raw = ai.chat.completions.with_raw_response.create(
        model=CHAT,
        messages=[{"role": "developer", "content": "be brief"}, *user("what is one")],
        temperature=0.5,
        seed=3,
    )
    assert raw.headers["x-request-id"].startswith("req_")
    assert int(raw.headers["x-ratelimit-remaining-requests"]) > 0
    done = raw.parse()
    choice = done.choices[0]
    assert choice.message.content == answer(("system", "be brief"), ("user", "what is one"))
    assert (choice.finish_reason, done.model, done.object) == ("stop", CHAT, "chat.completion")
    usage = done.usage
    assert usage.prompt_tokens > 0 and usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert done._request_id

    done = ai.chat.completions.create(model=CHAT, messages=user("one two"), n=3)
    assert len({choice.message.content for choice in done.choices}) == 3
    done = ai.chat.completions.create(model=CHAT, messages=user("one two"), max_completion_tokens=2)
    assert done.choices[0].finish_reason == "length" and done.usage.completion_tokens == 2
    done = ai.chat.completions.create(model=CHAT, messages=user("one two three"), stop=["two"])
    assert done.choices[0].message.content.endswith("one ")

    done = ai.chat.completions.create(
        model=CHAT, messages=user("one"), logprobs=True, top_logprobs=2
    )
    content = done.choices[0].logprobs.content
    assert "".join(token.token for token in content) == done.choices[0].message.content
    assert all(len(token.top_logprobs) == 2 and token.logprob < 0 for token in content)
    assert bytes(content[0].bytes).decode() == content[0].token

    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    parts = [{"type": "text", "text": "what is this"}, picture]
    done = ai.chat.completions.create(model=CHAT, messages=user(parts))
    assert "<image " in done.choices[0].message.content


def chat_stream(mock):
    ai = client(mock)
    stream = ai.chat.completions.create(
        model=CHAT, messages=user("a b c"), stream=True, n=2, stream_options={"include_usage": True}
    )
    texts, finished, usage = ["", ""], {}, None
    for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            if choice.finish_reason:
                finished[choice.index] = choice.finish_reason
        usage = chunk.usage or usage
    assert texts[0] == answer(("user", "a b c")) and texts[1] != texts[0]
    assert finished == {0: "stop", 1: "stop"}
    whole = ai.chat.completions.create(model=CHAT, messages=user("a b c"), n=2)
    assert usage == whole.usage

    with ai.chat.completions.stream(
        model=CHAT, messages=user("get_weather now"), tools=[{**TOOL, "function": {**TOOL["function"], "strict": True}}]
    ) as events:
        final = events.get_final_completion()
    call = final.choices[0].message.tool_calls[0]
    assert json.loads(call.function.arguments)["people"] == 7
    assert final.choices[0].finish_reason == "tool_calls"


def chat_tools_and_formats(mock):
    ai = client(mock)
    messages = user("tell me get_weather")
    done = ai.chat.completions.create(model=CHAT, messages=messages, tools=[TOOL])
    call = done.choices[0].message.tool_calls[0]
    assert call.function.name == "get_weather" and done.choices[0].message.content is None
    City.model_validate_json(call.function.arguments)
    messages += [
        done.choices[0].message,
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    done = ai.chat.completions.create(model=CHAT, messages=messages, tools=[TOOL])
    assert done.choices[0].finish_reason == "stop"
    messages[-1]["tool_call_id"] = "call_other"
    raises(
        openai.BadRequestError,
        lambda: ai.chat.completions.create(model=CHAT, messages=messages, tools=[TOOL]),
    )
    done = ai.chat.completions.create(
        model=CHAT, messages=user("hello"), tools=[TOOL], tool_choice="required"
    )
    assert done.choices[0].message.tool_calls

    done = ai.chat.completions.parse(model=CHAT, messages=user("a city"), response_format=City)
    assert done.choices[0].message.parsed == City(name=digest([("user", "a city")]), people=7)
    done = ai.chat.completions.create(
        model=CHAT, messages=user("as json"), response_format={"type": "json_object"}
    )
    assert json.loads(done.choices[0].message.content)["answer"] == "as json"


def completions(mock):
    ai = client(mock)
    done = ai.completions.create(model=PROMPT, prompt=["one", "two"], n=2, max_tokens=100)
    assert [choice.index for choice in done.choices] == [0, 1, 2, 3]
    assert done.choices[0].text == answer(("prompt", "one"))
    assert done.choices[2].text == answer(("prompt", "two"))
    done = ai.completions.create(model=PROMPT, prompt="one", logprobs=1, echo=True, max_tokens=2)
    logprobs = done.choices[0].logprobs
    assert done.choices[0].finish_reason == "length" and done.choices[0].text.startswith("one")
    assert "".join(logprobs.tokens) == done.choices[0].text
    assert len(logprobs.tokens) == len(logprobs.text_offset) == len(logprobs.token_logprobs)
    stream = ai.completions.create(model=PROMPT, prompt="one", stream=True, max_tokens=100)
    assert "".join(chunk.choices[0].text for chunk in stream) == answer(("prompt", "one"))


def responses(mock):
    ai = client(mock)
    done = ai.responses.create(model=CHAT, instructions="be brief", input="what is one")
    assert done.output_text == answer(("system", "be brief"), ("user", "what is one"))
    assert done.status == "completed"
    assert done.usage.total_tokens == done.usage.input_tokens + done.usage.output_tokens
    done = ai.responses.create(model=CHAT, input="[[mock:words=50]]", max_output_tokens=16)
    assert done.status == "incomplete" and done.incomplete_details.reason == "max_output_tokens"

    kinds, text = [], ""
    for event in ai.responses.create(model=CHAT, input="a b", stream=True):
        assert event.sequence_number == len(kinds)
        kinds.append(event.type)
        if event.type == "response.output_text.delta":
            text += event.delta
    assert text == answer(("user", "a b"))
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    with ai.responses.stream(model=CHAT, input="a b") as stream:
        assert stream.get_final_response().output_text == text

    tool = {"type": "function", **TOOL["function"]}
    done = ai.responses.create(model=CHAT, input="get_weather", tools=[tool])
    call = done.output[0]
    City.model_validate_json(call.arguments)
    turn = [
        {"role": "user", "content": "get_weather"},
        call,
        {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"},
    ]
    assert ai.responses.create(model=CHAT, input=turn, tools=[tool]).output_text
    with ai.responses.stream(model=CHAT, input="get_weather", tools=[{**tool, "strict": True}]) as stream:
        assert stream.get_final_response().output[0].arguments == call.arguments
    parsed = ai.responses.parse(model=CHAT, input="a city", text_format=City)
    assert parsed.output_parsed.people == 7


def embeddings(mock):
    ai = client(mock)
    default = ai.embeddings.create(model=EMBED, input=["one", "two"], dimensions=8)
    plain = ai.embeddings.create(
        model=EMBED, input=["one", "two"], dimensions=8, encoding_format="float"
    )
    for one, other in zip(default.data, plain.data, strict=True):
        assert len(one.embedding) == 8
        assert all(abs(a - b) < 1e-6 for a, b in zip(one.embedding, other.embedding, strict=True))
        assert abs(sum(value * value for value in one.embedding) - 1) < 1e-5
    assert plain.data[0].embedding != plain.data[1].embedding and plain.usage.prompt_tokens == 2


def models(mock):
    ai = client(mock)
    names = [model.id for model in ai.models.list()]
    assert CHAT in names and ai.models.retrieve(CHAT).id == CHAT
    missing = raises(openai.NotFoundError, lambda: ai.models.retrieve("gpt-none"))
    assert missing.code == "model_not_found"


def batch_file(ai, rows):
    lines = [
        {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}
        for name, body in rows
    ]
    text = "\n".join(json.dumps(line) for line in lines)
    return ai.files.create(file=("in.jsonl", text.encode()), purpose="batch")


def batch(ai, file, **metadata):
    return ai.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata=metadata,
    )


def lines(ai, file):
    return [json.loads(line) for line in ai.files.content(file).text.splitlines()]


def files(mock):
    ai = client(mock)
    file = ai.files.create(file=("a.jsonl", b"{}\n"), purpose="batch")
    assert (file.bytes, file.filename, file.purpose) == (3, "a.jsonl", "batch")
    assert ai.files.retrieve(file.id) == file
    assert ai.files.content(file.id).read() == b"{}\n"
    assert file.id in [listed.id for listed in ai.files.list(purpose="batch", limit=1)]
    assert ai.files.delete(file.id).deleted
    raises(openai.NotFoundError, lambda: ai.files.retrieve(file.id))
    raises(
        openai.BadRequestError,
        lambda: ai.files.create(file=("a.txt", b"{}"), purpose="batch"),
    )


def batches(mock):
    ai = client(mock)
    rows = [(f"row-{i}", {"model": CHAT, "messages": user(f"q {i}")}) for i in range(5)]
    rows.append(("bad", {"model": CHAT}))
    rows.append(("broken", {"model": CHAT, "messages": user("[[mock:500]]")}))
    file = batch_file(ai, rows)
    made = batch(ai, file, job="7")
    seen = [made.status]
    while seen[-1] != "completed":
        made = ai.batches.retrieve(made.id)
        seen.append(made.status)
    assert seen == ["validating", "in_progress", "in_progress", "finalizing", "completed"]
    assert (made.request_counts.total, made.request_counts.completed, made.request_counts.failed) == (7, 5, 2)
    assert made.metadata == {"job": "7"} and made.completed_at >= made.created_at
    found = {line["custom_id"]: line["response"] for line in lines(ai, made.output_file_id)}
    for i in range(5):
        body = found[f"row-{i}"]["body"]
        assert body["choices"][0]["message"]["content"] == answer(("user", f"q {i}"))
    assert list(found) != sorted(found), "the order is promised to nobody"
    failed = {line["custom_id"]: line["response"]["status_code"] for line in lines(ai, made.error_file_id)}
    assert failed == {"bad": 400, "broken": 500}

    expired = batch(ai, file, mock_end="expired")
    while expired.status != "expired":
        expired = ai.batches.retrieve(expired.id)
    codes = [line["error"]["code"] for line in lines(ai, expired.error_file_id) if line["error"]]
    assert codes == ["batch_expired"] * 3

    failed = batch(ai, file, mock_end="failed")
    while failed.status != "failed":
        failed = ai.batches.retrieve(failed.id)
    assert failed.errors.data[0].code == "token_limit_exceeded" and failed.output_file_id is None

    wrong = ai.files.create(
        file=("in.jsonl", b'{"custom_id":"a"}\nnonsense\n'), purpose="batch"
    )
    wrong = ai.batches.retrieve(batch(ai, wrong).id)
    assert wrong.status == "failed"
    assert [(error.code, error.line) for error in wrong.errors.data][-1] == ("invalid_json_line", 2)

    cancelled = batch(ai, file)
    for _ in range(2):
        ai.batches.retrieve(cancelled.id)
    assert ai.batches.cancel(cancelled.id).status == "cancelling"
    cancelled = ai.batches.retrieve(cancelled.id)
    assert cancelled.status == "cancelled" and cancelled.request_counts.completed == 4
    raises(openai.ConflictError, lambda: ai.batches.cancel(cancelled.id))

    listed = [listed.id for listed in ai.batches.list(limit=2)]
    assert made.id in listed and len(listed) >= 5, "pages follow each other"
    raises(openai.NotFoundError, lambda: ai.batches.retrieve("batch_none"))


def errors(mock):
    ai = client(mock)

    def failing(script):
        return lambda: ai.chat.completions.create(
            model=CHAT, messages=user("x"), extra_headers=fault(script)
        )

    kinds = {
        400: openai.BadRequestError,
        401: openai.AuthenticationError,
        403: openai.PermissionDeniedError,
        404: openai.NotFoundError,
        408: openai.APIStatusError,
        409: openai.ConflictError,
        413: openai.APIStatusError,
        422: openai.UnprocessableEntityError,
        429: openai.RateLimitError,
        500: openai.InternalServerError,
        502: openai.InternalServerError,
        503: openai.InternalServerError,
        529: openai.InternalServerError,
    }
    for status, kind in kinds.items():
        error = raises(kind, failing(f"{status}*"))
        assert error.status_code == status and error.body["message"] and error.request_id
    raises(
        openai.AuthenticationError,
        lambda: client(mock, api_key="invalid-key").models.list(),
    )
    refused = {
        "model_not_found": {"model": "gpt-none", "messages": user("x")},
        "empty_array": {"model": CHAT, "messages": []},
        "decimal_above_max_value": {"model": CHAT, "messages": user("x"), "temperature": 3},
    }
    for code, request in refused.items():
        kind = openai.NotFoundError if code == "model_not_found" else openai.BadRequestError
        assert raises(kind, lambda request=request: ai.chat.completions.create(**request)).code == code
    unknown = {"model": CHAT, "messages": user("x"), "extra_body": {"top_k": 4}}
    raises(openai.BadRequestError, lambda: ai.chat.completions.create(**unknown))


def broken_answers(mock):
    ai = client(mock)

    def streamed(script):
        stream = ai.chat.completions.create(
            model=CHAT, messages=user(f"a b c d [[mock:{script}]]"), stream=True
        )
        return [chunk.choices[0].finish_reason for chunk in stream]

    def whole(script, **options):
        return client(mock, **options).chat.completions.create(
            model=CHAT, messages=user(f"[[mock:{script}]]")
        )

    assert "stop" not in streamed("half-stream"), "it ends without its end"
    raises(openai.APIConnectionError, lambda: streamed("cut-stream"))
    assert "error" in raises(openai.APIError, lambda: streamed("stream-error")).message
    raises(json.JSONDecodeError, lambda: streamed("malformed-json"))
    for script in ("reset", "close", "truncated", "cut-stream", "reset-after-headers"):
        raises(openai.APIConnectionError, lambda script=script: whole(script))
    raises(openai.APITimeoutError, lambda: whole("stall=30", timeout=0.2))
    raises(openai.APITimeoutError, lambda: whole("stall-body=30", timeout=0.2))
    raises(json.JSONDecodeError, lambda: whole("malformed-json"))
    raises(openai.APIResponseValidationError, lambda: whole("wrong-content-type", _strict_response_validation=True))
    assert whole("slow-drip=0.001").choices


def retries(mock):
    def attempts(script, **options):
        mock.clear()
        done = client(mock, max_retries=3, **options).chat.completions.create(
            model=CHAT, messages=user(f"again [[mock:{script}]]")
        )
        assert done.choices[0].message.content.startswith("Answer ")
        log = mock.log()["requests"]
        counts = [dict(request["headers"])["x-stainless-retry-count"] for request in log]
        assert counts == [str(number) for number in range(len(log))]
        waits = [b["at"]["secs"] + b["at"]["nanos"] / 1e9 - a["at"]["secs"] - a["at"]["nanos"] / 1e9
                 for a, b in zip(log, log[1:])]
        return waits

    short, exact = attempts("429;retry-after-ms=20,503;retry-after=1")
    assert 0.02 <= short < 0.3 and 1 <= exact < 1.4, "the SDK waits as long as it was told"
    assert len(attempts("500;retry-after-ms=1,408;retry-after-ms=1,409;retry-after-ms=1")) == 3
    assert len(attempts("reset")) == 1
    mock.clear()
    raises(
        openai.RateLimitError,
        lambda: client(mock, max_retries=2).chat.completions.create(
            model=CHAT, messages=user("[[mock:429;retry-after-ms=1*]]")
        ),
    )
    assert mock.num_requests() == 3


def redirects(mock):
    mock.clear()
    done = client(mock).chat.completions.create(model=CHAT, messages=user("x [[mock:redirect=307]]"))
    assert done.choices
    (followed,) = mock.elsewhere()["requests"]
    assert "authorization" not in dict(followed["headers"]), "keys stay with their origin"


def limits(mock):
    """`mock` allows two requests in half a second."""
    ai = client(mock, max_retries=10)
    for number in range(5):
        done = ai.chat.completions.create(model=CHAT, messages=user(f"{number}"))
        assert done.choices[0].message.content == answer(("user", f"{number}"))
    assert 429 in [request["status"] for request in mock.log()["requests"]]


def concurrently(mock):
    async def run():
        async with openai.AsyncOpenAI(
            base_url=mock.url + "/v1", api_key="sk-test", max_retries=8
        ) as ai:
            tasks = [
                ai.chat.completions.create(model=CHAT, messages=user(f"prompt {number}"))
                for number in range(60)
            ]
            return await asyncio.gather(*tasks)

    for number, done in enumerate(asyncio.run(run())):
        assert done.choices[0].message.content == answer(("user", f"prompt {number}"))


CHECKS = [
    chat, chat_stream, chat_tools_and_formats, completions, responses, embeddings, models, files,
    batches, errors, broken_answers, retries, redirects,
]
