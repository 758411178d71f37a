// A post as it was meant: in one line, and gone when it says nothing.

import { stage, text } from "millstream";

interface Post {
  id: number;
  author: string;
  text: string;
}

export default stage((key, value) => {
  if (value === null) return { key, value };
  const post: Post = JSON.parse(text(value));
  post.text = post.text.replace(/\s+/g, " ").trim();
  if (post.text === "") return;
  return { key, value: JSON.stringify(post) };
});
