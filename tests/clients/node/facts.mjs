// What the scripts beside this one share, as facts.py does for the Python clients.

export const base = `${process.env.MOA_ADDRESS}/v1`;
export const key = process.env.OPENAI_API_KEY;
export const question = "What is two and three?";
export const ask = [{ role: "user", content: question }];

export async function errorOf(call) {
  try {
    await call();
  } catch (error) {
    return error;
  }
  return null;
}

export async function tell(features) {
  const told = {};
  for (const name of process.argv.slice(2)) {
    try {
      told[name] = { facts: await features[name]() };
    } catch (error) {
      told[name] = { failed: String(error?.stack ?? error) };
    }
  }
  process.stdout.write("\n" + JSON.stringify(told));
}
