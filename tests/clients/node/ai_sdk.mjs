// Vercel's AI SDK with its provider for OpenAI-compatible servers.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { base, errorOf, key, question, tell } from "./facts.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;

function provider(apiKey = key) {
  return createOpenAICompatible({
    name: "moa",
    baseURL: base,
    apiKey,
    includeUsage: true,
    supportsStructuredOutputs: true,
  });
}

const moa = provider();
const City = z.object({ name: z.string(), inhabitants: z.number() });

function adder(called) {
  const add = tool({
    description: "Add two numbers.",
    inputSchema: z.object({ a: z.number(), b: z.number() }),
    execute: async ({ a, b }) => {
      called.push({ a, b });
      return a + b;
    },
  });
  return { model: moa("tools"), prompt: question, tools: { add }, stopWhen: stepCountIs(3) };
}

async function failure(model, maxRetries = 0) {
  const error = await errorOf(() => generateText({ model, prompt: question, maxRetries }));
  return { name: error?.name, status: error?.statusCode, retryable: error?.isRetryable };
}

await tell({
  whole: async () => {
    const { text, usage } = await generateText({ model: moa("panel"), prompt: question });
    return { text, tokens: usage.totalTokens };
  },
  streamed: async () => {
    const result = streamText({ model: moa("panel"), prompt: question });
    const pieces = [];
    for await (const piece of result.textStream) pieces.push(piece);
    return { pieces, tokens: (await result.usage).totalTokens };
  },
  tools: async () => {
    const called = [];
    const { text, steps } = await generateText(adder(called));
    return { answer: text, numbers: called, steps: steps.length };
  },
  "tools streamed": async () => {
    const called = [];
    const result = streamText(adder(called));
    let answer = "";
    for await (const piece of result.textStream) answer += piece;
    return { answer, numbers: called, steps: (await result.steps).length };
  },
  structured: async () => {
    const output = Output.object({ schema: City });
    return (await generateText({ model: moa("object"), prompt: question, output })).output;
  },
  "structured streamed": async () => {
    const output = Output.object({ schema: City });
    const result = streamText({ model: moa("object"), prompt: question, output });
    let last;
    for await (const part of result.partialOutputStream) last = part;
    return last;
  },
  errors: async () => ({
    401: await failure(provider("wrong")("panel")),
    404: await failure(moa("none")),
    429: await failure(moa("limited")),
  }),
  retries: async () => {
    const { text } = await generateText({ model: moa("flaky"), prompt: question, maxRetries: 1 });
    return { text };
  },
  "broken stream": async () => {
    const result = streamText({ model: moa("broken"), prompt: question, onError: () => {} });
    const parts = [];
    for await (const part of result.fullStream) parts.push(part.type);
    return { error: parts.includes("error") };
  },
  embeddings: async () => {
    const { embeddings } = await embedMany({
      model: moa.embeddingModel("embedder"),
      values: ["one", "two"],
    });
    return { vectors: embeddings.length, size: embeddings[0].length };
  },
});
