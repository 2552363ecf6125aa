// One question, streamed, with OpenAI's JavaScript SDK: only the base URL is another one.
import OpenAI from "openai";

const client = new OpenAI({
  baseURL: (process.env.GATEWAY_URL ?? "http://127.0.0.1:8000") + "/v1",
  apiKey: process.env.GATEWAY_KEY ?? "unused",
});

const stream = await client.chat.completions.create({
  model: process.env.GATEWAY_MODEL ?? "moa",
  messages: [{ role: "user", content: "Why is the sky blue?" }],
  stream: true,
  stream_options: { include_usage: true },
});

for await (const chunk of stream) {
  process.stdout.write(chunk.choices[0]?.delta?.content ?? "");
  if (chunk.usage) {
    console.log(`\n\n${chunk.usage.total_tokens} tokens in all, proposers included`);
  }
}
