// The official client for JavaScript.

import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { ask, errorOf, tell } from "./facts.mjs";

const baseURL = process.env.OPENAI_BASE_URL;
const client = new OpenAI({ baseURL, maxRetries: 0 });
const chat = client.chat.completions;
const City = z.object({ name: z.string(), inhabitants: z.number() });
const parameters = {
  type: "object",
  properties: { a: { type: "integer" }, b: { type: "integer" } },
  required: ["a", "b"],
  additionalProperties: false,
};
const tools = [{ type: "function", function: { name: "add", parameters } }];

async function roundTrip(message) {
  const [call] = message.tool_calls;
  const numbers = JSON.parse(call.function.arguments);
  const result = { role: "tool", tool_call_id: call.id, content: String(numbers.a + numbers.b) };
  const answer = await chat.create({ model: "tools", messages: [...ask, message, result], tools });
  return { called: call.function.name, numbers, answer: answer.choices[0].message.content };
}

async function nameOf(call) {
  return (await errorOf(call))?.constructor.name ?? "none";
}

await tell({
  whole: async () => {
    const answer = await chat.create({ model: "panel", messages: ask });
    return { text: answer.choices[0].message.content, tokens: answer.usage.total_tokens };
  },
  streamed: async () => {
    const stream = await chat.create({
      model: "panel",
      messages: ask,
      stream: true,
      stream_options: { include_usage: true },
    });
    const pieces = [];
    let tokens = 0;
    for await (const chunk of stream) {
      const piece = chunk.choices[0]?.delta?.content;
      if (piece) pieces.push(piece);
      tokens = chunk.usage?.total_tokens ?? tokens;
    }
    return { pieces, tokens };
  },
  "stream helper": async () => {
    const answer = await chat.stream({ model: "panel", messages: ask }).finalChatCompletion();
    return { text: answer.choices[0].message.content };
  },
  tools: async () => {
    const answer = await chat.create({ model: "tools", messages: ask, tools });
    return roundTrip(answer.choices[0].message);
  },
  "tools streamed": async () => {
    const stream = chat.stream({ model: "tools", messages: ask, tools });
    return roundTrip(await stream.finalMessage());
  },
  structured: async () => {
    const response_format = zodResponseFormat(City, "city");
    const answer = await chat.parse({ model: "object", messages: ask, response_format });
    return answer.choices[0].message.parsed;
  },
  "raw response": async () => {
    const { data, response, request_id } = await chat
      .create({ model: "panel", messages: ask })
      .withResponse();
    return {
      text: data.choices[0].message.content,
      status: response.status,
      "request id": request_id === response.headers.get("x-request-id"),
    };
  },
  errors: async () => {
    const stranger = new OpenAI({ baseURL, apiKey: "wrong", maxRetries: 0 });
    const wrong = { model: "panel", messages: ask };
    return {
      400: await nameOf(() => chat.create({ ...wrong, temperature: 9 })),
      401: await nameOf(() => stranger.chat.completions.create(wrong)),
      404: await nameOf(() => chat.create({ ...wrong, model: "none" })),
      429: await nameOf(() => chat.create({ ...wrong, model: "limited" })),
      502: await nameOf(() => chat.create({ ...wrong, model: "down" })),
    };
  },
  retries: async () => {
    const answer = await chat.create({ model: "flaky", messages: ask }, { maxRetries: 1 });
    return { text: answer.choices[0].message.content };
  },
  "no retry where none helps": async () => ({
    error: await nameOf(() => chat.create({ model: "capped", messages: ask }, { maxRetries: 3 })),
  }),
  timeout: async () => ({
    error: await nameOf(() => chat.create({ model: "silent", messages: ask }, { timeout: 500 })),
  }),
  "broken stream": async () => ({
    error: await nameOf(async () => {
      const stream = await chat.create({ model: "broken", messages: ask, stream: true });
      for await (const _ of stream);
    }),
  }),
  models: async () => {
    const listed = [];
    for await (const model of client.models.list()) listed.push(model.id);
    return { listed: listed.includes("panel") };
  },
  embeddings: async () => {
    const answer = await client.embeddings.create({ model: "embedder", input: ["one", "two"] });
    return { vectors: answer.data.length, size: answer.data[0].embedding.length };
  },
  responses: async () => {
    const answer = await client.responses.create({ model: "panel", input: "One" });
    return { text: answer.output_text, tokens: answer.usage.total_tokens };
  },
  "responses streamed": async () => {
    const stream = await client.responses.create({ model: "panel", input: "One", stream: true });
    const kinds = [];
    let text = "";
    for await (const event of stream) {
      kinds.push(event.type);
      if (event.type === "response.output_text.delta") text += event.delta;
    }
    return { text, first: kinds[0], last: kinds.at(-1) };
  },
});
