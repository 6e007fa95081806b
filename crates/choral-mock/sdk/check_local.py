"""Ollama's own client, and OpenAI's as it is used with local servers, against the mock."""

import base64
import json

import ollama
import openai
import pydantic

from mock import answer, digest, raises

MODEL = "llama3.2"


class City(pydantic.BaseModel):
    name: str
    people: int


def user(text):
    return [{"role": "user", "content": text}]


def chat(mock):
    ai = ollama.Client(mock.url)
    messages = [{"role": "system", "content": "be brief"}, *user("what is one")]
    done = ai.chat(MODEL, messages)
    assert done.message.content == answer(("system", "be brief"), ("user", "what is one"))
    assert done.done and done.done_reason == "stop" and done.model == MODEL
    assert done.prompt_eval_count > 0 and done.eval_count > 0
    assert done.total_duration == done.load_duration + done.prompt_eval_duration + done.eval_duration

    parts = list(ai.chat(MODEL, messages, stream=True))
    assert "".join(part.message.content for part in parts) == done.message.content
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].eval_count == done.eval_count

    done = ai.chat(MODEL, user("one two"), options={"num_predict": 2})
    assert done.done_reason == "length" and done.eval_count == 2
    done = ai.chat(MODEL, user("one two three"), options=ollama.Options(stop=["two"]))
    assert done.message.content.endswith("one ")
    done = ai.chat(MODEL, user("one"), logprobs=True, top_logprobs=2)
    assert "".join(token.token for token in done.logprobs) == done.message.content

    done = ai.chat(MODEL, user("a city"), format=City.model_json_schema())
    assert City.model_validate_json(done.message.content).people == 7
    assert json.loads(ai.chat(MODEL, user("a city"), format="json").message.content)
    picture = base64.b64encode(b"pixels").decode()
    done = ai.chat(MODEL, [{"role": "user", "content": "what", "images": [picture]}])
    assert "<image 6ec9c2b0eb14>" in done.message.content

    def get_weather(name: str, people: int) -> str:
        """The weather."""

    done = ai.chat(MODEL, user("get_weather"), tools=[get_weather])
    call = done.message.tool_calls[0].function
    assert call.arguments == {"name": digest([("user", "get_weather")]), "people": 7}
    messages = [*user("get_weather"), done.message, {"role": "tool", "content": "sunny", "tool_name": "get_weather"}]
    assert ai.chat(MODEL, messages, tools=[get_weather]).message.content
    (*_, call, last) = ai.chat(MODEL, user("get_weather"), tools=[get_weather], stream=True)
    assert call.message.tool_calls and last.done


def generate(mock):
    ai = ollama.Client(mock.url)
    done = ai.generate(MODEL, "what is one", system="be brief")
    assert done.response == answer(("system", "be brief"), ("user", "what is one"))
    assert ai.generate(MODEL, "what is one", raw=True).response == answer(("prompt", "what is one"))
    parts = list(ai.generate(MODEL, "what is one", stream=True))
    assert "".join(part.response for part in parts) == answer(("user", "what is one"))
    assert parts[-1].context


def models(mock):
    ai = ollama.Client(mock.url)
    assert "llama3.2:latest" in [model.model for model in ai.list().models]
    assert ai.show(MODEL).modelinfo["general.architecture"] == "llama"
    assert ai.generate(MODEL, "", keep_alive="10m").done_reason == "load"
    assert "llama3.2:latest" in [model.model for model in ai.ps().models]
    assert ai.generate(MODEL, "", keep_alive=0).done_reason == "unload"
    assert "llama3.2:latest" not in [model.model for model in ai.ps().models]
    assert raises(ollama.ResponseError, lambda: ai.show("none")).status_code == 404

    states = list(ai.pull("tiny:1b", stream=True))
    assert states[0].status == "pulling manifest" and states[-1].status == "success"
    done = [state.completed for state in states if state.total]
    assert done == [None, states[1].total // 2, states[1].total]
    assert ai.chat("tiny:1b", user("x")).message.content
    assert ai.pull("other").status == "success"
    raises(ollama.ResponseError, lambda: ai.pull("missing"))
    raises(ollama.ResponseError, lambda: list(ai.pull("missing", stream=True)))
    assert mock.get("/api/version")[1]["version"]


def embed(mock):
    ai = ollama.Client(mock.url)
    done = ai.embed("nomic-embed-text", ["one", "two"], dimensions=8)
    assert len(done.embeddings) == 2 and len(done.embeddings[0]) == 8


def errors(mock):
    ai = ollama.Client(mock.url)
    missing = raises(ollama.ResponseError, lambda: ai.chat("none", user("x")))
    assert (missing.status_code, missing.error) == (404, "model 'none' not found")
    missing = raises(ollama.ResponseError, lambda: list(ai.chat("none", user("x"), stream=True)))
    assert missing.status_code == 404
    for status in (400, 429, 500, 503):
        error = raises(ollama.ResponseError, lambda status=status: ai.chat(MODEL, user(f"[[mock:{status}*]]")))
        assert error.status_code == status
    error = raises(ollama.ResponseError, lambda: ai.chat(MODEL, user("x"), think=True))
    assert error.error == '"llama3.2" does not support thinking'
    stream = ai.chat(MODEL, user("a b c [[mock:stream-error]]"), stream=True)
    assert raises(ollama.ResponseError, lambda: list(stream)).status_code == -1
    half = list(ai.chat(MODEL, user("a b c [[mock:half-stream]]"), stream=True))
    assert half and not half[-1].done


def compatible(mock):
    """`mock` asks for no key."""
    ai = openai.OpenAI(base_url=mock.url + "/v1", api_key="none", max_retries=0)
    done = ai.chat.completions.create(
        model="qwen2.5-7b-instruct", messages=user("x"), extra_body={"top_k": 40, "min_p": 0.1}
    )
    assert done.choices[0].message.content == answer(("user", "x"))
    status, models = mock.get("/api/v0/models")
    states = {model["id"]: model["state"] for model in models["data"]}
    assert status == 200 and states["qwen2.5-7b-instruct"] == "loaded"
    assert states["claude-haiku-4-5"] == "not-loaded"
    assert mock.get("/api/v0/models/qwen2.5-7b-instruct")[1]["max_context_length"] == 32768
    assert mock.get("/api/v0/models/none")[0] == 404
    assert mock.get("/v1/models")[0] == 200


CHECKS = [chat, generate, models, embed, errors]
